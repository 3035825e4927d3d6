//! Reinforcement learning: tasks in, replies of the model, rewards by rule or by a judge, and a model that gets more of them.
//!
//! One step asks [`mix`] for tasks, has [`rollout`] draw a group of replies to each with our own engine, plays tools in [`episode`], rewards in
//! [`reward`], and takes some optimiser steps on the [objective](grpo). [`run`] does that until it is done; [`specialists`] does it for each domain from
//! one start, and [`distill`] collects what they can say for a model of all domains to learn from. The mixed run after that is [`run`] again, on
//! all domains.
//!
//! A run is a function of its configuration and its seed: tasks and draws follow from seed and step, so that a resumed run on the same device
//! continues exactly as the uninterrupted one.
//!
//! Source: spec §7.

pub mod config;
pub mod distill;
pub mod episode;
pub mod grpo;
mod learner;
pub mod mix;
pub mod policy;
pub mod report;
pub mod reward;
pub mod rollout;
mod rows;
mod run;
#[cfg(test)]
mod toy;

pub use config::{DistillConfig, GrpoConfig, SpecialistConfig};
pub use distill::{Collected, distill};
pub use report::{Sample, StepRow};
pub use run::{Event, Job, Place, run, run_with, specialists};
