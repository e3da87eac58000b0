//! The one certificate that poolers and Postgres show, and its key: P-256, as `pgweir` advises.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgweir::demo::cluster::{Cluster, wait_for};
use rcgen::{CertificateParams, KeyPair};

/// Where certificate and key lie in the run's folder.
pub(crate) fn files(folder: &Path) -> [PathBuf; 2] {
    ["bench.crt", "bench.key"].map(|name| folder.join(name))
}

/// Makes both. Everybody may read them: PgBouncer gives up root.
pub(crate) fn make(folder: &Path) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
    let [certificate_file, key_file] = files(folder);
    std::fs::write(certificate_file, certificate.pem())?;
    std::fs::write(key_file, key.serialize_pem())?;
    Ok(())
}

/// Has a Postgres speak TLS with them. It wants its key to itself.
pub(crate) fn serve(cluster: &Cluster, folder: &Path) -> anyhow::Result<()> {
    let owner = std::fs::metadata(cluster.folder())?;
    let mut sql = String::new();
    for (file, setting) in files(folder).iter().zip(["ssl_cert_file", "ssl_key_file"]) {
        let own = cluster.folder().join(setting);
        std::fs::copy(file, &own)?;
        std::fs::set_permissions(&own, Permissions::from_mode(0o600))?;
        chown(&own, Some(owner.uid()), Some(owner.gid()))?;
        sql += &format!("ALTER SYSTEM SET {setting} = '{}';\n", own.display());
    }
    let primary = cluster.primary();
    for line in sql.lines().chain(["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"]) {
        primary.sql("postgres", line)?;
    }
    wait_for("Postgres speaks TLS", Duration::from_secs(10), || {
        Ok((primary.sql("postgres", "SHOW ssl")?.trim() == "on").then_some(()))
    })?;
    Ok(())
}
