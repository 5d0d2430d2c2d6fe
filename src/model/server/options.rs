//! The server, the model on it, and how it is asked.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::Uri;

use crate::address::{Address, keep_secret};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::media::LONGEST_SIDE;
use crate::message;
use crate::message::Setting;

/// Environment variable that holds the key.
const ENV_KEY: &str = "DESCRY_API_KEY";
/// Least and most requests at the same time.
const JOBS: std::ops::RangeInclusive<usize> = 1..=64;
/// Smallest and largest longest side of a picture.
const SIDES: std::ops::RangeInclusive<u32> = 64..=LONGEST_SIDE;

/// A model on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerModel {
    address: Address,
    name: String,
}

impl ServerModel {
    /// The model `name` on the server at `url`, such as `http://localhost:11434/v1`. Does not connect yet.
    ///
    /// # Errors
    /// [`Error::Usage`] if the address is no HTTP URL, or the name is missing.
    pub fn new(url: &str, name: Option<&str>) -> Result<ServerModel> {
        let address = Address::new(url);
        let wrong = |what| {
            Error::usage(
                format!("the address of the server of models {what}"),
                message!["Give ", Setting::Model, " openai:http://HOST:PORT/v1."],
            )
        };
        let uri: Uri = url.parse().map_err(|_| wrong("is not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("is neither HTTP nor HTTPS"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("names no host"));
        }
        match name.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => Ok(ServerModel { address, name: name.into() }),
            None => Err(Error::usage(
                format!("{address}: a server has many models, and none is named"),
                message!["Name one with ", Setting::ModelName, ", such as qwen2.5vl:3b."],
            )),
        }
    }

    /// The model's name on the server.
    pub fn title(&self) -> String {
        self.name.clone()
    }

    /// The server's address, without credentials.
    pub fn shown(&self) -> String {
        self.address.shown()
    }

    /// SHA-256 of the address without credentials and of the model's name, in hexadecimal. It identifies what is asked for;
    /// what the server runs under that name is the server's affair.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(format!("{}\n{}", self.shown(), self.name)))
    }

    /// What no caption may repeat.
    pub(super) fn secrets(&self) -> Vec<String> {
        self.address.secrets()
    }

    /// Where requests go, with the credentials of the query and never to be shown, and the `Authorization` of the user name
    /// and password.
    pub(super) fn endpoint(&self) -> (String, Option<String>) {
        let (address, login) = self.address.split_login();
        let (base, query) = match address.split_once('?') {
            Some((base, query)) => (base, format!("?{query}")),
            None => (&*address, String::new()),
        };
        (format!("{}/chat/completions{query}", base.trim_end_matches('/')), login)
    }
}

/// How a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// Longest time of one request, from the connection to the end of the answer. Default: 60 s.
    pub timeout: Duration,
    /// Requests at the same time, from 1 to 64. Default: 4.
    pub jobs: usize,
    /// Longest side of the pictures that are sent, in pixels, from 64 to 1,280. Default: 768.
    pub picture_side: u32,
    /// Sent as bearer token. Default: none.
    pub key: Option<ApiKey>,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions { timeout: Duration::from_secs(60), jobs: 4, picture_side: 768, key: None }
    }
}

impl ServerOptions {
    /// Refuses values that are out of range.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |setting, value: String, remedy: String| {
            Err(Error::usage(message![setting, format!(" {value} is out of range")], remedy))
        };
        if self.timeout.is_zero() {
            return wrong(Setting::ServerTimeout, "0".into(), "Give the server some time.".into());
        }
        if !JOBS.contains(&self.jobs) {
            let remedy = format!("Use a number from {} to {}.", JOBS.start(), JOBS.end());
            return wrong(Setting::ServerJobs, self.jobs.to_string(), remedy);
        }
        if !SIDES.contains(&self.picture_side) {
            let remedy = format!("Use a number from {} to {}.", SIDES.start(), SIDES.end());
            return wrong(Setting::PictureSize, self.picture_side.to_string(), remedy);
        }
        Ok(())
    }
}

/// The key of a server. `Debug` does not show it, and no text does from its creation on.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key, and hides it in every text from now on.
    ///
    /// # Errors
    /// [`Error::Usage`] if it has characters that a header cannot hold.
    pub fn new(key: &str) -> Result<ApiKey> {
        let key = key.trim();
        keep_secret(key);
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::usage(
                "the key of the server of models is empty, or has characters that no key has",
                format!("Set {ENV_KEY} to the key alone: letters, digits and signs, without spaces."),
            ));
        }
        Ok(ApiKey(key.into()))
    }

    /// The key in the environment variable `DESCRY_API_KEY`; none if it is not set or empty.
    ///
    /// # Errors
    /// As for [`ApiKey::new`].
    pub fn from_environment() -> Result<Option<ApiKey>> {
        match std::env::var_os(ENV_KEY) {
            Some(key) if !key.is_empty() => ApiKey::new(&key.to_string_lossy()).map(Some),
            _ => Ok(None),
        }
    }

    /// The key itself: for the server, and never to be shown.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_follows_the_address_and_keeps_its_query() {
        let endpoint = |url| ServerModel::new(url, Some("m")).unwrap().endpoint().0;
        assert_eq!(endpoint("http://h:1/v1"), "http://h:1/v1/chat/completions");
        assert_eq!(endpoint("http://h:1/v1/"), "http://h:1/v1/chat/completions");
        assert_eq!(endpoint("https://h"), "https://h/chat/completions");
        assert_eq!(endpoint("https://h/x?version=2"), "https://h/x/chat/completions?version=2");
    }

    #[test]
    fn the_hash_depends_on_the_model_and_the_address_and_not_on_credentials() {
        let hash = |url, name| ServerModel::new(url, Some(name)).unwrap().hash();
        assert_eq!(hash("http://h/v1", "m").len(), 64);
        assert_eq!(hash("http://h/v1", "m"), hash("http://me:secret-one@h/v1", "m"));
        assert_ne!(hash("http://h/v1", "m"), hash("http://h/v1", "n"));
        assert_ne!(hash("http://h/v1", "m"), hash("http://g/v1", "m"));
    }

    #[test]
    fn addresses_and_names_that_cannot_be_used_are_refused_without_credentials() {
        for url in ["", "nonsense", "ftp://me:secret-two@h/v1", "http://", "/v1", "http://me:secret-two@"] {
            let e = ServerModel::new(url, Some("m")).unwrap_err().to_string();
            assert!(e.contains("the address of the server") && !e.contains("secret"), "{url}: {e}");
        }
        let e = ServerModel::new("http://me:secret-two@h/v1", Some(" ")).unwrap_err().to_string();
        assert!(e.starts_with("http://h/v1: ") && e.contains("`model_name`") && !e.contains("secret"), "{e}");
        assert!(!format!("{:?}", ServerModel::new("http://me:secret-two@h/v1", Some("m"))).contains("secret"));
    }

    #[test]
    fn keys_are_never_shown() {
        let key = ApiKey::new(" sk-never-shown-1 ").unwrap();
        assert_eq!((key.reveal(), format!("{key:?}").as_str()), ("sk-never-shown-1", "ApiKey(***)"));
        assert_eq!(crate::address::hide("wrong key sk-never-shown-1."), "wrong key ***.");
        for wrong in ["", "two words", "line\nbreak-secret", "schlüssel-secret"] {
            let e = ApiKey::new(wrong).unwrap_err().to_string();
            assert!(e.contains("DESCRY_API_KEY") && !e.contains("secret"), "{e}");
        }
    }

    #[test]
    fn options_out_of_range_are_refused_by_name() {
        let options = ServerOptions::default;
        assert!(options().check().is_ok());
        for (wrong, name) in [
            (ServerOptions { timeout: Duration::ZERO, ..options() }, "`server_timeout`"),
            (ServerOptions { jobs: 0, ..options() }, "`server_jobs`"),
            (ServerOptions { jobs: 65, ..options() }, "`server_jobs`"),
            (ServerOptions { picture_side: 63, ..options() }, "`picture_side`"),
            (ServerOptions { picture_side: 1281, ..options() }, "`picture_side`"),
        ] {
            let e = wrong.check().unwrap_err().to_string();
            assert!(e.contains(name), "{e}");
        }
    }
}
