//! What both drivers' programs share: named checks that run one by one, and waiting for tasks.

use std::{future::Future, time::Instant};

use anyhow::{Context, Result, ensure};

/// Clients at once.
pub const CLIENTS: i32 = 8;
/// Rounds per client.
pub const ROUNDS: i32 = 60;
/// More statements than a server keeps prepared.
pub const DISTINCT: i32 = 350;

/// The address to test.
pub fn url() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL")
}

/// The schema that is dropped after the run.
pub fn schema() -> String {
    std::env::var("DRIVER_SCHEMA").expect("DRIVER_SCHEMA")
}

/// Compares by value, with an error instead of a panic.
pub fn equal<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(got: T, want: U) -> Result<()> {
    ensure!(got == want, "got {got:.200?}, want {want:.200?}");
    Ok(())
}

/// Runs `client(0)` to `client(count - 1)` at once; gives the first error.
pub async fn at_once<F, R>(count: i32, client: F) -> Result<()>
where
    F: Fn(i32) -> R,
    R: Future<Output = Result<()>> + 'static,
{
    let tasks: Vec<_> = (0..count).map(|number| tokio::task::spawn_local(client(number))).collect();
    for task in tasks {
        task.await.context("client")??;
    }
    Ok(())
}

/// Counts checks and the failed ones among them.
#[derive(Default)]
pub struct Checks {
    run: usize,
    failed: usize,
}

impl Checks {
    /// Runs one check and prints its outcome.
    pub async fn check(&mut self, name: &str, body: impl Future<Output = Result<()>>) {
        println!("run  {name}");
        let began = Instant::now();
        self.run += 1;
        match body.await {
            Ok(()) => println!("ok   {name} ({:.2} s)", began.elapsed().as_secs_f64()),
            Err(error) => {
                self.failed += 1;
                println!("{error:?}");
                println!("FAIL {name}: {}", format!("{error:#}").replace('\n', " "));
            }
        }
    }

    /// Prints the sum and ends the program.
    pub fn finish(&self) -> ! {
        println!("{} of {} checks", self.run - self.failed, self.run);
        std::process::exit(i32::from(self.failed > 0))
    }
}
