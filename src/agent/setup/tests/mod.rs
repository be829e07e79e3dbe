//! Whole set-ups of trees of files.

mod accounts;
mod distributions;
mod homes;
mod inits;
mod locales;
mod odd;
mod packages;
