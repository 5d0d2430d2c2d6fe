//! What inputs may reach on the network.

use std::path::PathBuf;

use clap::Args;

use crate::error::Result;
use crate::media::{AccessPolicy, Authorities};

/// The policy of all connections that inputs make.
#[derive(Args)]
#[command(next_help_heading = "Network")]
pub(super) struct AccessArgs {
    /// Let redirects and playlists lead to this machine and to private networks
    ///
    /// The server that you name may always be there. What it leads to must have a public address.
    #[arg(long)]
    allow_private: bool,
    /// Accept any certificate of an input's server
    ///
    /// Anyone between descry and the server can then read the password and replace the video.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Trust the certificate authorities in this PEM file too, and servers whose own certificate is in it
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl AccessArgs {
    /// The policy, with the authorities that are read from the file.
    pub(super) fn policy(&self) -> Result<AccessPolicy> {
        Ok(AccessPolicy {
            allow_private: self.allow_private,
            insecure: self.insecure,
            authorities: self.ca.as_deref().map(Authorities::read).transpose()?,
        })
    }

    /// Whether private addresses are allowed, any certificate is accepted, and the file of authorities: as the keys of a
    /// configuration file that the command line overrides.
    pub(super) fn keys(&self) -> (Option<bool>, Option<bool>, Option<PathBuf>) {
        (self.allow_private.then_some(true), self.insecure.then_some(true), self.ca.clone())
    }
}
