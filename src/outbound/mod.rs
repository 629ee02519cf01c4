//! Requests to addresses that users name: guarded, so that the service can't be made to talk to what only it
//! can reach (server-side request forgery).
//!
//! ```text
//! URL ─▶ scheme http or https, no user in it ─▶ name resolved by our resolver ─▶ every address looked at ─▶ connect to that one
//! ```
//! **Invariant:** what is connected to is what was looked at. A name is resolved once, by [`GuardedResolver`],
//! whose answer is what the client connects to: a second answer for the same name (DNS rebinding) is never asked
//! for. Redirects are not followed, and no proxy of the environment is used.

mod addresses;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, StatusCode, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HOST, HeaderMap, HeaderValue},
    redirect::Policy,
};

pub use self::addresses::{AllowList, InvalidNetwork};

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

/// One question.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub url: &'a str,
    /// Where to connect to, instead of what the host resolves to: `address` or `address:port`.
    pub address: Option<&'a str>,
    pub headers: HeaderMap,
    /// For all of it, from resolving to the last byte of the headers.
    pub timeout: Duration,
}

/// What came back. The body is not read.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// By host, and by the address to connect to if one was named.
type Clients = HashMap<(String, Option<IpAddr>), Client>;

/// Asks what users name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbound {
    allow: Arc<AllowList>,
    clients: Arc<Mutex<Clients>>,
}

impl Outbound {
    pub fn new(allow: AllowList) -> Self {
        Self {
            allow: Arc::new(allow),
            clients: Arc::default(),
        }
    }

    /// Sends a GET, on a connection of its own: the next one may reach another host behind the same name.
    ///
    /// # Errors
    /// [`OutboundError::Forbidden`] before anything is sent; safe to repeat.
    pub async fn get(&self, question: Question<'_>) -> Result<Answer, OutboundError> {
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
        let client = self.client(&host, to)?;
        let answer = client.get(url).headers(headers).timeout(question.timeout).send().await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        Ok(Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
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
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(GuardedResolver {
                allow: Arc::clone(&self.allow),
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

/// The system's resolver, less the addresses that may not be reached.
#[derive(Debug)]
struct GuardedResolver {
    allow: Arc<AllowList>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let (good, bad): (Vec<_>, Vec<_>) = found.into_iter().partition(|address| allow.allows(address.ip()));
            match (good.is_empty(), bad.first()) {
                (true, Some(address)) => {
                    // Which address a name has in here is nobody's business who may only name it.
                    tracing::warn!(name = name.as_str(), address = %address.ip(), "refused to ask a private address");
                    Err(OutboundError::Forbidden {
                        address: name.as_str().to_owned(),
                    }
                    .into())
                }
                (true, None) => Err(OutboundError::Unreachable(format!("{} has no address", name.as_str())).into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::HeaderMap as Headers, response::Redirect, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    /// A site on loopback that says which host it was asked for; returns its port.
    async fn site() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hello = async |headers: Headers| {
            let host = headers["host"].clone();
            ([("x-host", host)], "hello")
        };
        let router = Router::new()
            .route("/", get(hello))
            .route("/away", get(async || Redirect::temporary("/")));
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    fn outbound(allow: &str) -> Outbound {
        Outbound::new(allow.parse().unwrap())
    }

    fn ask<'a>(url: &'a str, address: Option<&'a str>) -> Question<'a> {
        Question {
            url,
            address,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(10),
        }
    }

    #[tokio::test]
    async fn what_only_the_service_can_reach_is_not_asked() {
        let port = site().await;
        let guarded = outbound("");
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "0.0.0.0",
            "2130706433",
            "0x7f.1",
            "[::ffff:127.0.0.1]",
        ] {
            let url = format!("http://{host}:{port}/");
            let error = guarded.get(ask(&url, None)).await.unwrap_err();
            assert!(matches!(error, OutboundError::Forbidden { .. }), "{host}: {error:?}");
            assert!(error.to_string().contains("GREENLIGHT_OUTBOUND_ALLOW"), "{error}");
        }
        let address = format!("127.0.0.1:{port}");
        let error = guarded
            .get(ask("http://example.com/", Some(&address)))
            .await
            .unwrap_err();
        assert!(matches!(error, OutboundError::Forbidden { .. }), "{error:?}");
        let metadata = guarded.get(ask("http://169.254.169.254/latest/meta-data/", None)).await;
        assert!(matches!(metadata, Err(OutboundError::Forbidden { .. })), "{metadata:?}");
    }

    #[tokio::test]
    async fn an_allowed_address_is_asked_for_the_urls_host() {
        let port = site().await;
        let open = outbound("127.0.0.0/8");
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(open.get(ask(&url, None)).await.unwrap().status, 200);
        let address = format!("127.0.0.1:{port}");
        for (url, host) in [
            ("http://www.example.com/", "www.example.com"),
            ("http://www.example.com:8443/", "www.example.com:8443"),
            ("http://192.0.2.1:81/", "192.0.2.1:81"),
        ] {
            let answer = open.get(ask(url, Some(&address))).await.unwrap();
            assert_eq!(
                (answer.status.as_u16(), &answer.headers["x-host"]),
                (200, &HeaderValue::from_static(host))
            );
        }
    }

    #[tokio::test]
    async fn redirects_are_answers_and_are_not_followed() {
        let url = format!("http://127.0.0.1:{}/away", site().await);
        let answer = outbound("127.0.0.0/8").get(ask(&url, None)).await.unwrap();
        assert_eq!(answer.status, 307);
    }

    #[tokio::test]
    async fn what_can_not_be_asked_says_why() {
        let open = outbound("127.0.0.0/8");
        for url in [
            "file:///etc/passwd",
            "ftp://example.com/",
            "nonsense",
            "http://user:secret@example.com/",
        ] {
            let error = open.get(ask(url, None)).await.unwrap_err();
            assert!(matches!(error, OutboundError::Invalid(_)), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/?token=secret", listener.local_addr().unwrap());
        drop(listener);
        let error = open.get(ask(&url, None)).await.unwrap_err();
        assert!(matches!(&error, OutboundError::Unreachable(_)), "{error:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
