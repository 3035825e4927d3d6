//! One module per command.

pub mod bench;
pub mod chat;
pub mod compare;
pub mod convert;
pub mod devices;
pub mod generate;
pub mod info;
pub mod prompt;
pub mod trace;
pub mod train;
pub mod verify;
pub mod xray;
