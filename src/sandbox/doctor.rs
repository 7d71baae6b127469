//! Whether this machine can close the box: every wall is raised, for real, around nothing.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::Failure;
use super::supervisor::{Probed, probe};
use super::{Limits, Outcome, Resource, SandboxError, Told, Wall, remedy};

/// What can be done on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The walls, in the order in which they are raised. Without each of them nothing is built.
    pub walls: Vec<Finding>,
    /// What can be limited for all processes of a box together. Builds go without what cannot.
    pub cgroups: Vec<(Resource, Outcome)>,
}

/// What was found out about a wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The wall.
    pub wall: Wall,
    /// Whether it can be raised.
    pub standing: Standing,
}

/// Whether a wall can be raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It was raised.
    Stands,
    /// It cannot be raised.
    Fails {
        /// Why.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// It comes after one that cannot.
    NotTried,
}

/// Tries every wall. `helper` is the program that [`super::Job::helper`] would be.
pub fn diagnose(helper: &Path) -> Result<Diagnosis, SandboxError> {
    let limits =
        Limits { time: Duration::from_mins(1), log: 0, processes: 512, memory: Some(256 << 20), disk: 1 << 20 };
    let Probed { failure, cgroups } = probe(helper, limits)?;
    let failing = match failure {
        None => None,
        Some(Failure::Wall(wall, why)) => Some((wall, why)),
        Some(
            Failure::Input(_, source)
            | Failure::Output(_, source)
            | Failure::Kept(source)
            | Failure::Space(source)
            | Failure::Other(source),
        ) => return Err(SandboxError::Helper { source }),
        Some(Failure::Step { .. }) => return Err(SandboxError::Helper { source: Told::new("there are no steps") }),
    };
    let standing = |wall: Wall| match &failing {
        Some((failing, why)) if *failing == wall => {
            Standing::Fails { why: why.chain(), remedy: remedy::for_wall(wall, why) }
        }
        Some((failing, _)) if *failing < wall => Standing::NotTried,
        _ => Standing::Stands,
    };
    let walls = Wall::ALL.into_iter().map(|wall| Finding { wall, standing: standing(wall) }).collect();
    Ok(Diagnosis { walls, cgroups })
}

impl Diagnosis {
    /// Whether a build can be run here.
    pub fn is_closed(&self) -> bool {
        self.walls.iter().all(|finding| finding.standing == Standing::Stands)
    }
}
