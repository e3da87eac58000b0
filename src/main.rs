//! The command line.

#[path = "main/check.rs"]
mod check;
#[path = "main/convert.rs"]
mod convert;
#[path = "main/explain.rs"]
mod explain;
#[path = "main/log.rs"]
mod log;
#[path = "main/start.rs"]
mod start;

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use pgweir::admin::Override;
use pgweir::app;
use pgweir::app::discover::{Found, Role, advise_pool_size, discover};
use pgweir::config::ini::Loaded;
use pgweir::config::origin::Shown;
use pgweir::config::{self, Config, Environment, General, HostPort, Problems, ServerUrl};
use pgweir::demo;
use pgweir::net::listen::Endpoint;

use self::check::{Depth, Form};
use self::convert::Conversion;
use self::start::Manner;

/// Idle clients are many and small: this allocator keeps them close together, and gives memory
/// back to the system when a crowd has left. Figures are in `ARCHITECTURE.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Postgres connection pooler: point your application's DATABASE_URL at it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// pooler.toml, or PgBouncer's pgbouncer.ini: as with `run`.
    #[arg(conflicts_with_all = ["url", "replica", "port", "listen", "http"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    manner: Manner,
    #[command(flatten)]
    direct: Direct,
}

/// Running without a file.
#[derive(Debug, Args)]
struct Direct {
    /// The server: postgres://user:password@host:port/database. Clients log in with the same
    /// user and password. Without it: PGWEIR_URL, DATABASE_URL, DB_HOST and its like, PGHOST and
    /// its like.
    #[arg(long)]
    url: Option<String>,
    /// A replica of it; may be given several times.
    #[arg(long)]
    replica: Vec<String>,
    /// The port to listen on (6432).
    #[arg(long)]
    port: Option<u16>,
    /// The address to listen on (127.0.0.1).
    #[arg(long)]
    listen: Option<String>,
    /// Where /metrics, /livez and /readyz are served (127.0.0.1:9127); empty for nowhere.
    #[arg(long)]
    http: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run with a configuration file.
    Run {
        /// pooler.toml or pgbouncer.ini.
        file: PathBuf,
        #[command(flatten)]
        manner: Manner,
    },
    /// Make a pooler.toml of a pgbouncer.ini, with a line for each setting that says what has become
    /// of it.
    Convert {
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Check a configuration file; exit code 1 when there is anything wrong with it.
    Check {
        /// pooler.toml or pgbouncer.ini.
        file: PathBuf,
        /// Ask its servers, too, whether all will work: login, role, lag, connections, clock,
        /// certificates.
        #[arg(long)]
        connect: bool,
        /// One JSON document instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// What a configuration amounts to.
    Config {
        #[command(subcommand)]
        question: ConfigQuestion,
    },
    /// Say where a text would run, on the primary or on a replica, and why. It is not run.
    Explain {
        #[command(flatten)]
        question: explain::Question,
    },
    /// Start throwaway Postgres servers and a pooler in front of them, and show what it does.
    Demo {
        /// Run the lines that it would show, compare, and exit with 0 or 1.
        #[arg(long)]
        check: bool,
        /// The port to listen on; 0 for any that is free.
        #[arg(long)]
        port: Option<u16>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigQuestion {
    /// Show every setting with its value; secrets are ***.
    Show {
        /// pooler.toml or pgbouncer.ini; without it, what flags and variables make.
        file: Option<PathBuf>,
        #[command(flatten)]
        direct: Direct,
        /// Show where each comes from: a variable, a line of the file, or the default.
        #[arg(long)]
        origins: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pgweir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => match cli.file {
            Some(file) => start::run_file(file, cli.manner),
            None => run_direct(cli.direct, &cli.manner),
        },
        Some(Command::Run { file, manner }) => start::run_file(file, manner),
        Some(Command::Convert { conversion }) => convert::convert(&conversion),
        Some(Command::Check { file, connect, json }) => {
            let form = if json { Form::Json } else { Form::Lines };
            check::check(&file, if connect { Depth::Servers } else { Depth::File }, form)
        }
        Some(Command::Config { question: ConfigQuestion::Show { file, direct, origins } }) => {
            let environment = environment();
            let shown = match file {
                Some(file) => config::origin::show(&file, &environment)?,
                None => show_direct(direct, &environment)?,
            };
            for Shown { text, origin } in shown {
                match origin.filter(|_| origins) {
                    Some(origin) => print(&format!("{text:<50} # {origin}")),
                    None => print(&text),
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Explain { question }) => explain::explain(question),
        Some(Command::Demo { check, port }) => {
            log::begin(&Environment::default(), None);
            run_demo(check, port)
        }
    }
}

fn environment() -> Environment {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Environment::new(std::env::vars_os().filter_map(text))
}

fn run_direct(direct: Direct, manner: &Manner) -> anyhow::Result<ExitCode> {
    manner.refuse()?;
    let environment = environment();
    let told = Told::new(direct, &environment);
    let config = told.and_then(|told| Ok((told.config(&environment)?, told)));
    let process = start::Process::begin(
        &environment,
        manner,
        config.as_ref().ok().map(|(config, _)| &config.general),
    );
    let (mut config, told) = config?;
    let process = process?;
    manner.apply(&mut config.general);
    if told.flags.url.is_none() {
        tracing::info!("servers from the environment: {}", environment.naming_servers().join(", "));
    }
    let sized = environment.sets("default_pool_size");
    let found = look_around(&mut config, if sized { Size::Given } else { Size::Advised })?;
    // What was found out now holds for as long as the process runs.
    let General { default_pool_size, auth_user, .. } = config.general.clone();
    let environment = environment.with([
        ("default_pool_size".to_owned(), default_pool_size.to_string()),
        ("auth_user".to_owned(), auth_user.unwrap_or_default()),
    ]);
    let (manner, log) = (manner.clone(), process.log());
    let source = Box::new(move |set: &[Override]| {
        log.reopen();
        let mut config = told.config(&environment.with(set.to_vec()))?;
        manner.apply(&mut config.general);
        Ok(Loaded::from(config))
    });
    serve(config, source, &found)
}

/// What a start without a file would go by; the pool size is found out at the start.
fn show_direct(flags: Direct, environment: &Environment) -> anyhow::Result<Vec<Shown>> {
    let told = Told::new(flags, environment)?;
    let config = told.config(environment)?;
    let given = |flag: &str| flag.to_owned();
    let Direct { url, listen, port, http, .. } = &told.flags;
    let keys = [
        ("listen_addr", listen.as_ref().map(|_| given("--listen"))),
        ("listen_port", port.map(|_| given("--port"))),
        ("http_listen", http.as_ref().map(|_| given("--http"))),
    ];
    let flags: Vec<_> = keys.into_iter().filter_map(|(key, flag)| Some((key, flag?))).collect();
    let named = || environment.naming_servers().join(", ");
    let servers = url.as_ref().map_or_else(named, |_| given("--url"));
    Ok(config::origin::show_config(&config, environment, &flags, &servers))
}

/// What flags say, and variables in their place.
struct Told {
    servers: Vec<ServerUrl>,
    replicas: Vec<ServerUrl>,
    flags: Direct,
}

impl Told {
    fn new(flags: Direct, environment: &Environment) -> anyhow::Result<Self> {
        let servers = match &flags.url {
            Some(url) => vec![ServerUrl::parse(url).context("--url")?],
            None => environment.servers()?,
        };
        anyhow::ensure!(
            !servers.is_empty(),
            "--url, PGWEIR_URL, DATABASE_URL or a command is needed; see pgweir --help"
        );
        let replicas = if flags.replica.is_empty() {
            environment.replicas()?
        } else {
            let urls: Result<_, _> =
                flags.replica.iter().map(|url| ServerUrl::parse(url)).collect();
            urls.context("--replica")?
        };
        Ok(Self { servers, replicas, flags })
    }

    fn config(&self, environment: &Environment) -> Result<Config, Problems> {
        let Self { servers, replicas, flags } = self;
        let mut config = Config::from_servers_in(servers.clone(), replicas.clone(), environment)?;
        let general = &mut config.general;
        if let Some(listen) = &flags.listen {
            general.listen_addr = vec![listen.clone()];
        }
        general.listen_port = flags.port.unwrap_or(general.listen_port);
        if let Some(http) = &flags.http {
            general.http_listen = Some(http.clone()).filter(|address| !address.is_empty());
        }
        Ok(config)
    }
}

/// Where the pool size comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    /// It is configured.
    Given,
    /// What the server can bear.
    Advised,
}

/// Asks the servers what they are, and chooses the pool size by the smallest. A server that can't be
/// asked may come up later; two primaries of one database are a mistake.
fn look_around(config: &mut Config, size: Size) -> anyhow::Result<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let databases: Vec<_> = config.databases.values().cloned().collect();
    let (mut lines, mut smallest) = (Vec::new(), None);
    for database in &databases {
        let mut tls = "not known".to_owned();
        let (mut first, mut primary) = (true, None);
        for host in database.all_hosts() {
            let found = match runtime.block_on(discover(config, database, &host)) {
                Ok(found) => found,
                Err(error) => {
                    lines.push(format!("server    {host}: {error}"));
                    continue;
                }
            };
            if found.role == Role::Primary
                && let Some(other) = primary.replace(host.clone())
            {
                anyhow::bail!("{other} and {host} are both primaries");
            }
            lines.push(describe(&host, &found));
            let (advised, why) = advise_pool_size(&found);
            if smallest.as_ref().is_none_or(|(least, _)| advised < *least) {
                smallest = Some((advised, why));
            }
            if std::mem::take(&mut first) {
                tls = found.cipher.map_or_else(|| "no".to_owned(), |cipher| cipher.to_string());
                lines.push(format!(
                    "login     clients by {}, with the server's user and password; to the server by {}",
                    config.general.auth_type.name(),
                    found.method,
                ));
                lines.push(others(config, &found));
            }
        }
        let mode = database.server_tls_sslmode.name();
        lines.push(format!("TLS       clients: no; server: {tls} (sslmode {mode})"));
    }
    if let Some((advised, why)) = smallest.filter(|_| size == Size::Advised) {
        config.general.default_pool_size = advised;
        lines.push(format!("pool      {advised} servers: {why}"));
    }
    Ok(lines)
}

/// Who else can log in, without being listed.
fn others(config: &mut Config, found: &Found) -> String {
    match &config.general.auth_user {
        None => "others    no other user can log in: with several servers, list users in a file".into(),
        Some(_) if found.shows_secrets => {
            "others    every user of the server can log in whose secret there is SCRAM: it is looked \
             up, and passed through"
                .into()
        }
        Some(user) => {
            let line = format!(
                "others    no other user can log in: {user} may not read pg_authid; list users in a file"
            );
            // Nobody else is known, and each look-up would fail.
            config.general.auth_user = None;
            line
        }
    }
}

fn describe(host: &HostPort, found: &Found) -> String {
    let Found { version, role, max_connections, free, .. } = found;
    format!(
        "server    {host}: Postgres {version}, {role}, max_connections {max_connections}, {free} free"
    )
}

fn serve(config: Config, source: app::Source, found: &[String]) -> anyhow::Result<ExitCode> {
    let database = config.databases.keys().find(|name| *name != "*");
    let database = database.map_or("DATABASE".to_owned(), Clone::clone);
    let user = config.users.keys().next().cloned().unwrap_or_else(|| "USER".into());
    let admin = config.general.admin_users.first().cloned();
    let running = app::start(config, source)?;
    let mut lines: Vec<_> =
        running.endpoints().map(|at| format!("pgweir listens on {at}")).collect();
    if let Some(at) = running.endpoints().next().and_then(psql_options) {
        lines.push(format!("  connect   psql {at} -U {user} {database}"));
        lines.extend(admin.map(|admin| format!("  console   psql {at} -U {admin} pgweir")));
    }
    lines.extend(running.http_address().map(|pages| format!("  metrics   http://{pages}/metrics")));
    lines.extend(found.iter().map(|line| format!("  {line}")));
    lines.push(String::new());
    running.run(|| {
        // Whoever started it may not be listening; that is no reason not to run.
        if let Err(error) = std::io::stdout().write_all(lines.join("\n").as_bytes()) {
            tracing::debug!(%error, "nobody reads the standard output");
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// How psql gets there, from this machine.
fn psql_options(at: &Endpoint) -> Option<String> {
    match at {
        Endpoint::Tcp(address) => {
            let host = match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            };
            Some(format!("-h {host} -p {}", address.port()))
        }
        Endpoint::Unix(_) => {
            let path = at.to_string();
            let (directory, port) = path.rsplit_once("/.s.PGSQL.")?;
            Some(format!("-h {directory} -p {port}"))
        }
    }
}

#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
fn print(line: &str) {
    println!("{line}");
}

fn run_demo(check: bool, port: Option<u16>) -> anyhow::Result<ExitCode> {
    let mode = if check { demo::Mode::Check } else { demo::Mode::Show };
    let port = port.unwrap_or(if check { 0 } else { 6432 });
    let outcome = demo::run(mode, port, &mut std::io::stdout(), |toml| {
        let text = toml.to_owned();
        let source: app::Source = Box::new(move |set| {
            let environment = Environment::default().with(set.to_vec());
            Config::from_toml_str_in("demo", &text, &environment).map(Loaded::from)
        });
        let running = app::start(source(&[])?.config, source)?;
        let tcp = running.endpoints().find_map(|at| match at {
            Endpoint::Tcp(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
        });
        let port = tcp.context("the demonstration listens on no port")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            // The sender's end being dropped is the signal as well.
            running.wait(async { stopped.await.unwrap_or_default() });
        });
        let stop = Box::new(move || {
            drop(stop);
            drop(thread.join());
        });
        Ok(demo::RunningPooler { port, stop })
    })?;
    Ok(match outcome {
        demo::Outcome::Well => ExitCode::SUCCESS,
        demo::Outcome::Failed => ExitCode::FAILURE,
    })
}
