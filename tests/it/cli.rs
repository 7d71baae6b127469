//! The program as a person meets it: what is typed, what is seen, and the exit code.

mod builds;
mod check;
mod ends;
mod inputs;
mod reports;
mod round;
mod scene;
mod statements;
mod sign;
mod store;
mod trial;
mod usage;
mod walls;
