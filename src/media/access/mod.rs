//! Whom inputs may reach, and whom they must prove to be: the one policy of every connection that an input makes.
//!
//! The server that the user names is trusted to be where it is. What it leads to (a redirect, an entry of a playlist) is not:
//! it must have a [public address](scope), unless the policy allows private ones. Addresses are checked after a name is
//! resolved, at the moment of connecting. Certificates are verified against the system's authorities (Mozilla's, if it has none)
//! and those of the user.

mod authorities;
mod policy;
pub(crate) mod scope;
pub(crate) mod tls;

pub use authorities::Authorities;
pub use policy::AccessPolicy;
pub(crate) use policy::{Leads, Place};
