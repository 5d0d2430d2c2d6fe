//! What the environment says about the hub, by the names that the hub's own programs use.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use url::Url;

use crate::address::{Address, keep_secret};
use crate::error::{Error, Result};

/// The hub itself.
const HUB: &str = "https://huggingface.co";

/// Where models come from, and who asks for them.
#[derive(Clone)]
pub struct HubEnvironment {
    pub(super) endpoint: Url,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
    /// The hub's own cache, if this user has a place for it.
    pub(super) cache: Option<PathBuf>,
}

impl HubEnvironment {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HUB_CACHE` and `HF_HOME`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value that cannot be.
    pub fn read() -> Result<HubEnvironment> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        let endpoint = endpoint_of(text("HF_ENDPOINT").as_deref().unwrap_or(HUB))?;
        let token = text("HF_TOKEN").map(|token| token.trim().to_string()).filter(|token| !token.is_empty());
        if let Some(token) = &token {
            keep_secret(token);
            check_token(token, &endpoint)?;
        }
        let folders = ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"].map(variable);
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        Ok(HubEnvironment { endpoint, token, offline, cache: cache_of(folders, std::env::home_dir()) })
    }

    /// Whether a token is sent.
    #[cfg(feature = "cli")]
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether only files in the hub's cache may be used.
    #[cfg(feature = "cli")]
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// The server, without credentials.
    pub(crate) fn shown(&self) -> String {
        Address::new(self.endpoint.as_str()).shown().trim_end_matches('/').to_string()
    }
}

fn endpoint_of(text: &str) -> Result<Url> {
    let wrong = |cause: &str| {
        Error::usage(
            format!("HF_ENDPOINT is {}, {cause}", Address::new(text)),
            format!("Set it to the address of a hub, such as {HUB}, or unset it."),
        )
    };
    let mut url = Url::parse(text.trim().trim_end_matches('/')).map_err(|_| wrong("which is not an address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("which is not an address of http or https"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(wrong("and it must have no user, no password and no query"));
    }
    url.set_fragment(None);
    Ok(url)
}

/// Refuses a token that cannot be sent, or that anybody on the way could read.
fn check_token(token: &str, endpoint: &Url) -> Result<()> {
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::usage("HF_TOKEN holds characters that no token has", "Set it to your token, or unset it."));
    }
    let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if endpoint.scheme() == "http" && !is_here {
        return Err(Error::usage(
            "HF_ENDPOINT is an address of http, over which anybody on the way could read HF_TOKEN",
            "Use an address of https, or unset HF_TOKEN.",
        ));
    }
    Ok(())
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))
}

fn cache_of([cache, hub, data]: [Option<OsString>; 3], home: Option<PathBuf>) -> Option<PathBuf> {
    if let Some(cache) = cache {
        return Some(cache.into());
    }
    let hub = hub.map(PathBuf::from);
    let data = || Some(data.map(PathBuf::from).or_else(|| Some(home?.join(".cache")))?.join("huggingface"));
    Some(hub.or_else(data)?.join("hub"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_of_servers() {
        assert_eq!(endpoint_of("https://mirror.example/hf/").unwrap().as_str(), "https://mirror.example/hf");
        for wrong in
            ["mirror", "ftp://h/", "https://", "https://u:passw0rd@h", "https://h/?t0ken=xyzxyzxyz", "file:///x"]
        {
            let error = endpoint_of(wrong).unwrap_err().to_string();
            assert!(error.contains("HF_ENDPOINT"), "{error}");
            assert!(!error.contains("passw0rd") && !error.contains("xyzxyz"), "{error}");
        }
    }

    #[test]
    fn a_token_is_sent_over_tls_or_to_this_machine() {
        let url = |text| endpoint_of(text).unwrap();
        for good in ["https://h", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"] {
            assert!(check_token("hf_abc", &url(good)).is_ok(), "{good}");
        }
        assert!(check_token("hf_abc", &url("http://mirror.lan")).is_err());
        assert!(check_token("hf_a bc", &url("https://h")).is_err());
        assert!(check_token("hf_a\nbc", &url("https://h")).is_err());
    }

    #[test]
    fn the_cache_is_where_the_hub_has_it() {
        let of = |cache: Option<&str>, hub: Option<&str>, data: Option<&str>, home: Option<&str>| {
            cache_of([cache, hub, data].map(|f| f.map(Into::into)), home.map(Into::into))
        };
        assert_eq!(of(Some("/c"), Some("/h"), None, Some("/me")), Some("/c".into()));
        assert_eq!(of(None, Some("/h"), None, Some("/me")), Some("/h/hub".into()));
        assert_eq!(of(None, None, Some("/x"), Some("/me")), Some("/x/huggingface/hub".into()));
        assert_eq!(of(None, None, None, Some("/me")), Some("/me/.cache/huggingface/hub".into()));
        assert_eq!(of(None, None, None, None), None);
        assert!(is_true("1") && is_true("YES") && !is_true("0") && !is_true("false"));
    }
}
