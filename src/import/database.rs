//! `db_url` of the family as the URL of an SQL sink, its password apart.

/// Where a database is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Database {
    /// The URL without a password.
    pub url: String,
    /// The password.
    pub password: Option<String>,
}

/// Reads `scheme://user:password@host:port/database`.
///
/// # Errors
/// Why no sink reaches it. The password is never told.
pub fn parse(url: &str) -> Result<Database, String> {
    let url = url.trim();
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err("it has no scheme such as `mysql://`".to_owned());
    };
    let ours = match scheme {
        "mysql" | "db_mysql" => "mysql",
        "postgres" | "postgresql" | "db_postgres" => "postgres",
        "sqlite" | "db_sqlite" => {
            let file = rest.strip_prefix("//").unwrap_or(rest);
            // Two slashes at its beginning would make the first folder a host.
            let absolute = file.starts_with('/').then(|| format!("/{}", file.trim_start_matches('/')));
            return match absolute.as_deref().unwrap_or(file) {
                "" => Err("it names no file".to_owned()),
                file => Ok(Database { url: format!("sqlite:{file}"), password: None }),
            };
        }
        other => return Err(format!("a database of the kind `{other}` is not among ours: mysql, postgres, sqlite")),
    };
    let rest = rest.strip_prefix("//").ok_or("`//` is missing behind its scheme")?;
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    let (host, name) = place.split_once('/').ok_or("it names no database")?;
    let name = name.split('?').next().unwrap_or(name);
    if name.is_empty() {
        return Err("it names no database".to_owned());
    }
    let host = if host.is_empty() { "localhost" } else { host };
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (String::new(), None),
        Some((user, password)) => (format!("{}@", escaped(user)), (!password.is_empty()).then(|| password.to_owned())),
    };
    let (host, name) = (printable(host)?, escaped(name));
    Ok(Database { url: format!("{ours}://{user}{host}/{name}"), password })
}

/// A part of a URL, with % and digits for what has a meaning in one.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

fn printable(host: &str) -> Result<&str, String> {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
    if host.bytes().all(fits) { Ok(host) } else { Err("its host cannot be read".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_apart_and_is_never_told() {
        for (name, url, want) in [
            ("MySQL", "mysql://u:secret@db.example/acc", Ok(("mysql://u@db.example/acc", Some("secret")))),
            ("with a port", "mysql://u:secret@db:3307/acc", Ok(("mysql://u@db:3307/acc", Some("secret")))),
            ("without a password", "postgres://u@db/acc", Ok(("postgres://u@db/acc", None))),
            ("without a user", "mysql://db/acc", Ok(("mysql://db/acc", None))),
            ("without a host", "mysql://u:secret@/acc", Ok(("mysql://u@localhost/acc", Some("secret")))),
            ("an @ in the password", "mysql://u:se@cr:et@db/acc", Ok(("mysql://u@db/acc", Some("se@cr:et")))),
            ("an odd user", "mysql://u%/x:secret@db/acc", Ok(("mysql://u%25%2Fx@db/acc", Some("secret")))),
            ("a file", "sqlite:///var/acc.db", Ok(("sqlite:/var/acc.db", None))),
            ("a file behind four slashes", "sqlite:////var/acc.db", Ok(("sqlite:/var/acc.db", None))),
            ("a file without a folder", "sqlite://acc.db", Ok(("sqlite:acc.db", None))),
            ("no database", "mysql://u:secret@db", Err("names no database")),
            ("another kind", "unixodbc://u:secret@db/acc", Err("`unixodbc` is not among ours")),
            ("no URL", "secret", Err("no scheme")),
        ] {
            match (parse(url), want) {
                (Ok(found), Ok((url, password))) => {
                    assert_eq!((found.url.as_str(), found.password.as_deref()), (url, password), "{name}");
                }
                (Err(found), Err(want)) => {
                    assert!(found.contains(want) && !found.contains("secret"), "{name}: {found}");
                }
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
    }
}
