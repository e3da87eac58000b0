//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use pgweir::app;
use pgweir::config::{self, Config, ServerUrl};
use pgweir::demo;
use tracing_subscriber::EnvFilter;

/// Idle clients are many and small: this allocator keeps them close together, and gives memory
/// back to the system when a crowd has left. Figures are in `ARCHITECTURE.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A Postgres connection pooler: point your application's DATABASE_URL at it.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    direct: Direct,
}

/// Running without a file.
#[derive(Debug, Args)]
struct Direct {
    /// The server: postgres://user:password@host:port/database. Clients log in with the same
    /// user and password.
    #[arg(long)]
    url: Option<String>,
    /// A replica of it; may be given several times.
    #[arg(long)]
    replica: Vec<String>,
    /// The port to listen on.
    #[arg(long, default_value_t = 6432)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    listen: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run with a configuration file.
    Run {
        /// pooler.toml.
        file: PathBuf,
    },
    /// Check a configuration file; exit code 1 when there is anything wrong with it.
    Check {
        /// pooler.toml.
        file: PathBuf,
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

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("PGWEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
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
        None => run_direct(cli.direct),
        Some(Command::Run { file }) => {
            let config = Config::from_toml_file(&file)?;
            serve(config)
        }
        Some(Command::Check { file }) => Ok(check(&file)),
        Some(Command::Demo { check, port }) => run_demo(check, port),
    }
}

fn run_direct(direct: Direct) -> anyhow::Result<ExitCode> {
    let url = direct.url.context("--url or a command is needed; see pgweir --help")?;
    let primary = ServerUrl::parse(&url).context("--url")?;
    let replicas: Result<Vec<_>, _> =
        direct.replica.iter().map(|url| ServerUrl::parse(url)).collect();
    let mut config = Config::from_urls(primary, replicas.context("--replica")?)?;
    config.general.listen_addr = direct.listen;
    config.general.listen_port = direct.port;
    serve(config)
}

#[expect(clippy::print_stdout, reason = "what it listens on is for whoever started it")]
fn serve(config: Config) -> anyhow::Result<ExitCode> {
    let running = app::start(config)?;
    println!("pgweir listens on {}", running.address());
    if let Some(address) = running.http_address() {
        println!("metrics: http://{address}/metrics");
    }
    running.wait(signalled());
    Ok(ExitCode::SUCCESS)
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[expect(clippy::print_stdout, reason = "the report is what was asked for")]
fn check(file: &std::path::Path) -> ExitCode {
    match config::check::file(file) {
        Ok(lines) => {
            for line in lines {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprint!("{problems}");
            ExitCode::FAILURE
        }
    }
}

fn run_demo(check: bool, port: Option<u16>) -> anyhow::Result<ExitCode> {
    let mode = if check { demo::Mode::Check } else { demo::Mode::Show };
    let port = port.unwrap_or(if check { 0 } else { 6432 });
    let outcome = demo::run(mode, port, &mut std::io::stdout(), |toml| {
        let config = Config::from_toml_str("demo", toml)?;
        let running = app::start(config)?;
        let port = running.address().port();
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
