//! The table of cases: each is run locally, through `incus exec`, natively and by the agent, and
//! has to come out as it does locally. What is known not to is listed in [`known`].

pub mod known;

mod arguments;
mod descriptors;
mod environment;
mod outputs;
mod statuses;
mod stdin;
mod terminals;
