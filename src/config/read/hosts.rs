//! Where a database's servers are: said once, and whom they are asked for their roles as.

use toml::de::DeTable;

use super::{Reader, Seen, joined};
use crate::config::database::Database;
use crate::config::model::General;
use crate::config::routing::read_weight;
use crate::config::url::ServerUrl;

impl Reader<'_> {
    /// Reports what is wrong with how a database, whose table starts in line `header`, names its
    /// hosts.
    pub(super) fn check_hosts(
        &mut self,
        path: &str,
        header: usize,
        (table, seen): (&DeTable<'_>, &Seen),
        (database, general): (&Database, &General),
    ) {
        let line = |key| seen.get(key).copied();
        match (line("url"), line("hosts"), line("host")) {
            (Some(_), _, _) => self.check_beside_url(path, table, seen),
            (None, Some(hosts), _) => {
                for key in ["host", "port"].into_iter().filter(|key| seen.contains_key(key)) {
                    let hint = "remove it: each of the hosts has its port".to_owned();
                    let what = "hosts says it too";
                    self.report_at(line(key).or(Some(hosts)), &joined(path, key), what, Some(hint));
                }
            }
            (None, None, None) if self.broken.is_empty() => {
                let hint = "add host = \"…\" or url = \"postgres://…\"".to_owned();
                self.report_at(Some(header), &joined(path, "host"), "missing", Some(hint));
            }
            (None, None, _) => {}
        }
        self.check_shares(path, header, seen, database);
        let configured = database.check_user.as_ref().or(general.check_user.as_ref());
        let looks_up = database.auth_user.as_ref().or(general.auth_user.as_ref());
        let nobody = configured.or(database.user.as_ref()).or(looks_up).is_none();
        if nobody && database.seeks_primary() && self.broken.is_empty() {
            let what = "missing: nobody can ask the hosts which of them is the primary";
            let hint = "name a user who may log in to each of them".to_owned();
            self.report_at(Some(header), &joined(path, "check_user"), what, Some(hint));
        }
    }

    /// Reports weights and backups of hosts that a database does not have.
    fn check_shares(&mut self, path: &str, header: usize, seen: &Seen, database: &Database) {
        let line = |key| seen.get(key).copied().or(Some(header));
        let hosts = database.all_hosts();
        let hint = || Some("name one of the database's hosts as it is written there".to_owned());
        for text in &database.weights {
            let (what, hint) = match read_weight(text, database.port) {
                Ok((host, _)) if hosts.contains(&host) => continue,
                Ok((host, _)) => (format!("{host} is none of the hosts"), hint()),
                Err(what) => (what, Some("as in \"db2.example:5432=3\"".to_owned())),
            };
            self.report_at(line("weights"), &joined(path, "weights"), &what, hint);
        }
        for host in database.backup.iter().filter(|host| !hosts.contains(host)) {
            let what = format!("{host} is none of the hosts");
            self.report_at(line("backup"), &joined(path, "backup"), &what, hint());
        }
    }

    /// Reports keys that say what the URL says.
    fn check_beside_url(&mut self, path: &str, table: &DeTable<'_>, seen: &Seen) {
        let url = table.get("url").and_then(|url| ServerUrl::parse(url.get_ref().as_str()?).ok());
        let Some(url) = url else {
            return;
        };
        let taken = [
            ("host", true),
            ("port", true),
            ("hosts", true),
            ("dbname", url.dbname.is_some()),
            ("user", url.user.is_some()),
            ("password", url.password.is_some()),
            ("server_tls_sslmode", url.sslmode.is_some()),
            ("server_tls_negotiation", url.sslnegotiation.is_some()),
            ("server_tls_ca_file", url.sslrootcert.is_some()),
            ("server_tls_cert_file", url.sslcert.is_some()),
            ("server_tls_key_file", url.sslkey.is_some()),
        ];
        for (name, taken) in taken {
            if let (true, Some(line)) = (taken, seen.get(name)) {
                let hint = "remove it, or take it out of the url".to_owned();
                self.report_at(Some(*line), &joined(path, name), "url says it too", Some(hint));
            }
        }
    }
}
