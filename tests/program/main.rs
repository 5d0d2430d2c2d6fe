//! The program as users have it: installed below a prefix, completed by shells, explained by manual pages, checked by
//! `descry doctor`, and configured by files.

#[path = "../common/mod.rs"]
mod common;

mod config;
mod crate_file;
mod doctor;
mod install;
mod shells;
