//! Requests to addresses that users name: guarded, so that the service can't be made to talk to what only it
//! can reach (server-side request forgery).
//!
//! ```text
//! URL ─▶ scheme http or https, no user in it ─▶ name resolved by our resolver ─▶ every address looked at ─▶ connect to that one
//! ```
//! **Invariant:** what is connected to is what was looked at. A name is resolved once, by [`GuardedResolver`],
//! whose answer is what the client connects to: a second answer for the same name (DNS rebinding) is never asked
//! for. Redirects are not followed, no proxy of the environment is used, and nothing of an answer is decompressed.
//!
//! `addresses` has what may be reached, `resolver` how a name becomes an address.

mod addresses;
mod resolver;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt;
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING},
    redirect::Policy,
};

use self::resolver::{GuardedResolver, SystemLookup};
pub use self::{
    addresses::{AllowList, InvalidNetwork},
    resolver::Lookup,
};

/// Clients that are kept: one for each host and address that is asked.
const CLIENTS_MAX: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// It would lead to an address that only the service can reach.
    #[error("{address} is in a private, local or reserved network; {ALLOW_HINT}")]
    Forbidden { address: String },
    /// It can't be asked at all.
    #[error("{0}")]
    Invalid(String),
    /// No answer: not resolved, not connected, not in time.
    #[error("{0}")]
    Unreachable(String),
}

const ALLOW_HINT: &str = "the operator can allow it with GREENLIGHT_OUTBOUND_ALLOW";

/// One question. It can't be printed: what it carries may be secret.
#[derive(Clone)]
pub struct Question<'a> {
    pub method: Method,
    pub url: &'a str,
    /// Where to connect to, instead of what the host resolves to: `address` or `address:port`.
    pub address: Option<&'a str>,
    /// The body's length is not theirs to say: that is left out.
    pub headers: HeaderMap,
    pub body: Option<Vec<u8>>,
    /// Bytes of the answer's body that are read at most; 0: none.
    pub read_bytes: usize,
    /// For all of it, from resolving to the last byte read.
    pub timeout: Duration,
}

impl<'a> Question<'a> {
    /// A GET without headers of its own, of whose answer no body is read.
    pub fn get(url: &'a str, timeout: Duration) -> Self {
        Self {
            method: Method::GET,
            url,
            address: None,
            headers: HeaderMap::new(),
            body: None,
            read_bytes: 0,
            timeout,
        }
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// As it came over the line, up to [`Question::read_bytes`] of it.
    pub body: Vec<u8>,
    /// The body goes on behind what was read, or may: nobody waited to see.
    pub truncated: bool,
    /// From asking until the last byte that was read.
    pub took: Duration,
}

/// By host, and by the address to connect to if one was named.
type Clients = HashMap<(String, Option<IpAddr>), Client>;

/// Asks what users name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbound {
    allow: Arc<AllowList>,
    lookup: Arc<dyn Lookup>,
    clients: Arc<Mutex<Clients>>,
}

impl Outbound {
    pub fn new(allow: AllowList) -> Self {
        Self::with_lookup(allow, Arc::new(SystemLookup))
    }

    /// Names are looked up by `lookup`, not by the system. What it finds is guarded all the same.
    pub fn with_lookup(allow: AllowList, lookup: Arc<dyn Lookup>) -> Self {
        Self {
            allow: Arc::new(allow),
            lookup,
            clients: Arc::default(),
        }
    }

    /// Asks once, on a connection of its own: the next one may reach another host behind the same name. An answer
    /// is whatever came back, a redirect and a 500 too. Bounded in time and in bytes, whatever the other side does.
    ///
    /// # Errors
    /// [`OutboundError::Forbidden`] and [`OutboundError::Invalid`] before anything is sent.
    /// [`OutboundError::Unreachable`] when the answer, or the part of its body that is to be read, did not come in
    /// time or broke off: what was asked for may have been done. None of them repeats the URL.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answer, OutboundError> {
        let asked = Instant::now();
        let mut url = Url::parse(question.url).map_err(|why| OutboundError::Invalid(format!("not a URL: {why}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(OutboundError::Invalid("only http and https can be asked".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OutboundError::Invalid(
                "a URL with a user in it is not asked".to_owned(),
            ));
        }
        let Some(host) = url.host_str().map(str::to_owned) else {
            return Err(OutboundError::Invalid("a URL without a host".to_owned()));
        };
        let mut headers = question.headers;
        let mut to = None;
        if let Some(address) = question.address {
            let (ip, port) = parse_address(address)
                .ok_or_else(|| OutboundError::Invalid(format!("{address:?} is no address to connect to")))?;
            self.look_at(ip)?;
            let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
            let authority = HeaderValue::from_str(&authority)
                .map_err(|_| OutboundError::Invalid("a host that fits into no header".to_owned()))?;
            headers.insert(HOST, authority);
            let no_port = || OutboundError::Invalid("a URL that takes no port".to_owned());
            if port.is_some() {
                url.set_port(port).map_err(|()| no_port())?;
            }
            // Nothing is resolved for a literal, so it is put into the URL.
            if is_literal(&host) {
                url.set_ip_host(ip).map_err(|()| no_port())?;
            }
            to = Some(ip);
        } else if let Some(ip) = literal(&host) {
            self.look_at(ip)?;
        }
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        let client = self.client(&host, to)?;
        // The timeout is for the body too.
        let mut request = client.request(question.method, url).headers(headers);
        if let Some(body) = question.body {
            request = request.body(body);
        }
        let answer = request.timeout(question.timeout).send().await;
        let mut answer = answer.map_err(|error| unreachable(&error))?;
        let (body, truncated) = read(&mut answer, question.read_bytes).await?;
        Ok(Answer {
            status: answer.status(),
            headers: std::mem::take(answer.headers_mut()),
            body,
            truncated,
            took: asked.elapsed(),
        })
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at(&self, ip: IpAddr) -> Result<(), OutboundError> {
        if self.allow.allows(ip) {
            return Ok(());
        }
        Err(OutboundError::Forbidden {
            address: ip.to_string(),
        })
    }

    /// The client for a host, which connects only to `to` if that is given. Making one reads the machine's
    /// certificates, so it is kept.
    fn client(&self, host: &str, to: Option<IpAddr>) -> Result<Client, OutboundError> {
        let key = (host.to_owned(), to);
        if let Some(client) = self.clients().get(&key) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .user_agent(concat!("greenlight/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(GuardedResolver {
                allow: Arc::clone(&self.allow),
                lookup: Arc::clone(&self.lookup),
            }));
        if let Some(ip) = to {
            builder = builder.resolve_to_addrs(host, &[SocketAddr::new(ip, 0)]);
        }
        let client = builder
            .build()
            .map_err(|why| OutboundError::Invalid(format!("no HTTP client can be made: {why}")))?;
        let mut clients = self.clients();
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        Ok(clients.entry(key).or_insert(client).clone())
    }
}

/// At most `max` bytes of the body, and whether it goes on. What is not read is never waited for: the connection
/// ends with the answer.
async fn read(answer: &mut Response, max: usize) -> Result<(Vec<u8>, bool), OutboundError> {
    let mut body = Vec::new();
    while body.len() < max {
        let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(&error))? else {
            return Ok((body, false));
        };
        let room = max - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    // What is left by the length that was announced; without one, what has come already tells.
    let ended = answer.content_length() == Some(0) || matches!(answer.chunk().now_or_never(), Some(Ok(None)));
    Ok((body, !ended))
}

/// `address`, `address:port`, `[address]:port`.
fn parse_address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip, None));
    }
    let address = text.parse::<SocketAddr>().ok()?;
    Some((address.ip(), Some(address.port())))
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_literal(host: &str) -> bool {
    literal(host).is_some()
}

/// Says why in the words of the innermost cause: the outer ones repeat the URL, which may hold a secret.
fn unreachable(error: &reqwest::Error) -> OutboundError {
    if error.is_timeout() {
        return OutboundError::Unreachable("no answer in time".to_owned());
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        if let Some(forbidden) = source.downcast_ref::<OutboundError>() {
            return forbidden.clone();
        }
        innermost = source;
    }
    if std::ptr::eq(innermost, error as &dyn std::error::Error) {
        return OutboundError::Unreachable("it could not be asked".to_owned());
    }
    OutboundError::Unreachable(innermost.to_string())
}
