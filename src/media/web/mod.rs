//! Web servers: every request that an input makes over HTTP, also for what playlists name, and those of object stores.
//!
//! A [`WebClient`] belongs to one input. It follows redirects itself, and connects only where the input's
//! [policy](crate::media::access) lets it; names are resolved by the client, and the addresses that they have are the
//! ones that it connects to. A [`WebSource`] reads one address, continues after a broken connection, and fetches another
//! part of it when the reader jumps.
//!
//! Memory: one piece of a body that was received, and what the kernel and the HTTP library buffer (half a megabyte).

mod client;
mod clients;
mod cookies;
mod fault;
mod guard;
mod login;
mod source;
mod store;

pub(crate) use client::{WebClient, WebRange, parse};
pub(crate) use login::{WebCredentials, WebLogin};
pub(crate) use source::WebSource;
pub(crate) use store::StoreConnector;
