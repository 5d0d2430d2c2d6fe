//! How `descry live --status` and a running descry show each other that they know the token, without sending it.
//!
//! Anything may listen on a port: another user's program, or one that another program started. So the client first sends a
//! random number, and the server answers with a code over it under a key that is made of the token. Only then does the
//! client send a code of its own. The token never travels, so that even a program which passes everything on to the real
//! server gets one status at most.
//!
//! Everyone can ask for the server's code, and try tokens on it at home. So the key takes [`ROUNDS`] rounds of PBKDF2,
//! a few hundred milliseconds: once when the server starts, and once for each `--status`.
//!
//! ```text
//! → GET /status    Descry-Challenge: CLIENT
//! ← 401            Descry-Proof: SALT.SERVER.code("server", CLIENT, SERVER)
//! → GET /status    Authorization: Descry CLIENT.SERVER.code("client", CLIENT, SERVER)
//! ```
//!
//! Memory: none for a client. The server's number contains when and for which client's number it was made, with a code, and
//! is accepted for [`ANSWER_TIME`].

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hmac, pbkdf2};

use super::sessions::unhex;
use crate::digest::hex;

/// The header of the client's number.
pub(crate) const CHALLENGE: &str = "descry-challenge";
/// The header of the server's code.
pub(crate) const PROOF: &str = "descry-proof";
/// The scheme of the client's code.
pub(crate) const SCHEME: &str = "Descry ";
/// How long a client may take for its own code.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// What OWASP recommends for passwords.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();

/// A random number of the client.
type Challenge = [u8; 32];
/// A number of the server: seconds since it began, and a code over them and the client's number.
type Nonce = [u8; 40];
type Code = [u8; 32];

/// The key that is made of the token.
struct TokenKey(hmac::Key);

impl TokenKey {
    fn derive(token: &str, salt: &[u8; 16]) -> TokenKey {
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, token.as_bytes(), &mut key);
        TokenKey(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    fn message(side: &str, challenge: &Challenge, nonce: &Nonce) -> Vec<u8> {
        [b"descry status 1 ", side.as_bytes(), challenge, nonce].concat()
    }

    fn code(&self, side: &str, challenge: &Challenge, nonce: &Nonce) -> String {
        hex(hmac::sign(&self.0, &TokenKey::message(side, challenge, nonce)).as_ref())
    }

    /// In constant time.
    fn verify(&self, side: &str, challenge: &Challenge, nonce: &Nonce, code: &Code) -> bool {
        hmac::verify(&self.0, &TokenKey::message(side, challenge, nonce), code).is_ok()
    }
}

/// The server's side.
pub(super) struct Prover {
    key: TokenKey,
    salt: [u8; 16],
    /// Signs the server's numbers.
    own: hmac::Key,
    began: Instant,
}

impl Prover {
    /// Takes a few hundred milliseconds.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(token: &str, now: Instant) -> Result<Prover, Unspecified> {
        let random = SystemRandom::new();
        let mut salt = [0; 16];
        random.fill(&mut salt)?;
        let own = hmac::Key::generate(hmac::HMAC_SHA256, &random)?;
        Ok(Prover { key: TokenKey::derive(token, &salt), salt, own, began: now })
    }

    fn nonce(&self, challenge: &Challenge, seconds: u64) -> Nonce {
        let mut nonce = [0; 40];
        let (time, code) = nonce.split_at_mut(8);
        time.copy_from_slice(&seconds.to_be_bytes());
        code.copy_from_slice(hmac::sign(&self.own, &[&seconds.to_be_bytes()[..], challenge].concat()).as_ref());
        nonce
    }

    /// The proof for a client's number; `None` where that is none.
    pub(super) fn prove(&self, challenge: &str, now: Instant) -> Option<String> {
        let challenge = unhex::<32>(challenge)?;
        let nonce = self.nonce(&challenge, now.saturating_duration_since(self.began).as_secs());
        Some(format!("{}.{}.{}", hex(&self.salt), hex(&nonce), self.key.code("server", &challenge, &nonce)))
    }

    /// Whether the client knows the token too: what follows the scheme is a code for a number of this server's.
    pub(super) fn accepts(&self, answer: &str, now: Instant) -> bool {
        let parts = || {
            let mut parts = answer.trim().split('.');
            let all = (unhex::<32>(parts.next()?)?, unhex::<40>(parts.next()?)?, unhex::<32>(parts.next()?)?);
            parts.next().is_none().then_some(all)
        };
        let Some((challenge, nonce, code)) = parts() else { return false };
        let mut seconds = [0; 8];
        seconds.copy_from_slice(&nonce[..8]);
        let seconds = u64::from_be_bytes(seconds);
        let age = now.saturating_duration_since(self.began).as_secs().checked_sub(seconds);
        let made = hmac::verify(&self.own, &[&nonce[..8], &challenge].concat(), &nonce[8..]).is_ok();
        made && age.is_some_and(|age| age <= ANSWER_TIME.as_secs())
            && self.key.verify("client", &challenge, &nonce, &code)
    }
}

/// The client's side: its number.
pub(crate) struct Asker(Challenge);

impl Asker {
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn new() -> Result<Asker, Unspecified> {
        let mut challenge = [0; 32];
        SystemRandom::new().fill(&mut challenge)?;
        Ok(Asker(challenge))
    }

    /// For the header [`CHALLENGE`].
    pub(crate) fn challenge(&self) -> String {
        hex(&self.0)
    }

    /// What follows the scheme, where the server's proof is right. Takes a few hundred milliseconds.
    pub(crate) fn answer(&self, proof: &str, token: &str) -> Option<String> {
        let mut parts = proof.trim().split('.');
        let (salt, nonce, code) = (unhex(parts.next()?)?, unhex(parts.next()?)?, unhex(parts.next()?)?);
        let key = TokenKey::derive(token, &salt);
        let known = parts.next().is_none() && key.verify("server", &self.0, &nonce, &code);
        known.then(|| format!("{}.{}.{}", self.challenge(), hex(&nonce), key.code("client", &self.0, &nonce)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_prove_that_they_know_the_token() {
        let (token, start) = ("0123456789abcdef", Instant::now());
        let server = Prover::new(token, start).unwrap();
        let client = Asker::new().unwrap();
        let after = |seconds| start + Duration::from_secs(seconds);
        let proof = server.prove(&client.challenge(), after(100)).unwrap();
        let answer = client.answer(&proof, token).unwrap();
        for said in [&client.challenge(), &proof, &answer] {
            assert!(!said.contains(token), "{said}");
        }
        assert!(server.accepts(&answer, after(100)) && server.accepts(&answer, after(110)));
        assert!(!server.accepts(&answer, after(111)) && !server.accepts(&answer, after(99)));
        // Another token, on either side.
        assert_eq!(client.answer(&proof, "another-token-16"), None);
        let stranger = Prover::new("another-token-16", start).unwrap();
        assert_eq!(client.answer(&stranger.prove(&client.challenge(), start).unwrap(), token), None);
        assert!(!stranger.accepts(&answer, after(100)));
        // A proof for another client's number, and the server's own code sent back to it.
        assert_eq!(Asker::new().unwrap().answer(&proof, token), None);
        let (_, code) = proof.rsplit_once('.').unwrap();
        let (front, _) = answer.rsplit_once('.').unwrap();
        assert!(!server.accepts(&format!("{front}.{code}"), after(100)));
        for wrong in ["", ".", "a.b.c", &format!("{answer}.00"), &answer[1..]] {
            assert!(!server.accepts(wrong, after(100)), "{wrong}");
            assert_eq!(client.answer(wrong, token), None);
        }
        assert_eq!(server.prove("xyz", start), None);
    }
}
