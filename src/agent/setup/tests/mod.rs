//! Whole set-ups of trees of files.

mod accounts;
mod distributions;
mod homes;
mod odd;
