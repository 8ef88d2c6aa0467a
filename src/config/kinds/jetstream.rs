//! What tables that lead to servers of JetStream say alike: the servers, who we are, TLS.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;

use super::Spot;
use super::secret::{TlsOptions, secret, secret_text};
use crate::config::check::Check;
use crate::config::decode::At;
use crate::config::schema::Switch;
use crate::net::tls::ClientTls;
use crate::sinks::jetstream::{Access, Login};
use crate::sinks::secret::Secret;

/// What a table says of the way to the servers.
pub(in crate::config) struct AccessOptions<'t> {
    /// URLs of servers, and the option that has them.
    pub servers: (&'static str, &'t Option<Vec<At<String>>>),
    /// Name by which the servers know us.
    pub user: &'t Option<At<String>>,
    /// File with the password of that.
    pub password_file: &'t Option<At<PathBuf>>,
    /// File with a token instead.
    pub token_file: &'t Option<At<PathBuf>>,
    /// File with the seed of an nkey instead.
    pub nkey_file: &'t Option<At<PathBuf>>,
    /// File of credentials instead.
    pub credentials_file: &'t Option<At<PathBuf>>,
    /// Whose certificate the servers have to have.
    pub ca: &'t Option<At<PathBuf>>,
    /// Certificate that is shown to them.
    pub certificate: &'t Option<At<PathBuf>>,
    /// Key of that.
    pub key: &'t Option<At<PathBuf>>,
    /// Whether a server's name is compared with its certificate.
    pub verify_host: Option<Switch>,
}

/// Servers of one table at most.
const SERVERS_MAX: usize = 16;

impl AccessOptions<'_> {
    /// Checks them.
    pub(in crate::config) fn access(
        &self,
        timeout: Duration,
        spot: &Spot<'_>,
        check: &mut Check<'_>,
    ) -> Option<Access> {
        let (servers, login) = (self.servers(spot, check), self.login(spot, check));
        let (servers, login) = (servers?, login?);
        let tls = self.tls(&servers, spot, check)?;
        Some(Access { servers, login, tls: tls.into(), timeout })
    }

    fn servers(&self, spot: &Spot<'_>, check: &mut Check<'_>) -> Option<Vec<String>> {
        let (name, given) = self.servers;
        let Some(given) = given.as_ref().filter(|given| !given.is_empty()) else {
            let hint = Some(format!("add `{name} = [\"nats://HOST:4222\"]`"));
            check.error_hint(spot.place, format_args!("`{}` lacks the field `{name}`", spot.title), hint);
            return None;
        };
        if given.len() > SERVERS_MAX {
            check.error(spot.place, format_args!("`{}` has more than {SERVERS_MAX} servers", spot.title));
            return None;
        }
        let hint = || Some("\"nats://HOST:4222\", or \"tls://HOST:4222\" for one that must have TLS".to_owned());
        let mut servers = Vec::new();
        for url in given {
            if url.contains('@') {
                let hint = Some("write it into a file, and name that by `password_file` or `token_file`".to_owned());
                check.error_hint(url.place, "a password may stand in this URL", hint);
                continue;
            }
            let parsed = url.parse::<ServerAddr>();
            let is_known = |own: &ServerAddr| matches!(own.scheme(), "nats" | "tls") && !own.host().is_empty();
            match parsed {
                Ok(own) if is_known(&own) => servers.push(url.value.clone()),
                _ => check.error_hint(url.place, format_args!("`{}` is no NATS server", url.value), hint()),
            }
        }
        (servers.len() == given.len()).then_some(servers)
    }

    fn login(&self, spot: &Spot<'_>, check: &mut Check<'_>) -> Option<Login> {
        let ways = [self.password_file, self.token_file, self.nkey_file, self.credentials_file];
        if let Some(second) = ways.into_iter().flatten().nth(1) {
            let hint =
                Some("of `password_file`, `token_file`, `nkey_file` and `credentials_file` one is enough".to_owned());
            check.error_hint(second.place, "a server knows a client in one way", hint);
            return None;
        }
        match (self.user, self.password_file) {
            (Some(user), Some(file)) => {
                let password = secret("password", file, spot.base, check)?;
                return Some(Login::User(user.value.clone(), password));
            }
            (None, None) => {}
            (Some(given), None) => {
                check.error(given.place, "`user` needs a `password_file`");
                return None;
            }
            (None, Some(given)) => {
                check.error(given.place, "`password_file` needs a `user`");
                return None;
            }
        }
        let of = |what: &str, file: &At<PathBuf>, check: &mut Check<'_>| secret(what, file, spot.base, check);
        if let Some(file) = self.token_file {
            return of("token", file, check).map(Login::Token);
        }
        if let Some(file) = self.nkey_file {
            return of("seed", file, check).map(Login::Nkey);
        }
        if let Some(file) = self.credentials_file {
            let text = secret_text("key", file, spot.base, check)?;
            if async_nats::ConnectOptions::with_credentials(&text).is_err() {
                let path = spot.base.join(&file.value);
                check.error(file.place, format_args!("{} has no JWT with the seed of an nkey", path.display()));
                return None;
            }
            return Some(Login::Credentials(Secret::new(text)));
        }
        Some(Login::None)
    }

    /// The files of TLS, where a server must have it or they are named; `None` inside: only without.
    fn tls(&self, servers: &[String], spot: &Spot<'_>, check: &mut Check<'_>) -> Option<Option<ClientTls>> {
        let Self { ca, certificate, key, verify_host, .. } = *self;
        let is_named =
            ca.is_some() || certificate.is_some() || key.is_some() || verify_host.is_some_and(|own| !own.is_on());
        if !is_named && !servers.iter().any(|url| url.starts_with("tls:")) {
            return Some(None);
        }
        let options = TlsOptions { ca, certificate, key, verify_host };
        options.load_below(spot, check).map(|(_, tls)| Some(tls))
    }
}
