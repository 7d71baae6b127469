//! PostgreSQL itself as a component, and the tarball that it was built from.

use packageurl::PackageUrl;

use super::inventory::{Component, Id, Inventory, Kind, Licence, Sum, Verb};
use crate::lockfile::{Origin, Source};
use crate::target::Version;

/// Who releases it.
pub(super) const ORGANISATION: &str = "PostgreSQL Global Development Group";

/// Adds PostgreSQL and, if it is known, the release tarball.
pub(super) fn add(inventory: &mut Inventory, version: Version, source: Option<&Source>) -> Id {
    let postgresql = inventory.add(
        "postgresql",
        Component {
            version: Some(version.to_string()),
            supplier: Some(ORGANISATION),
            purl: Some(purl(version, None).to_string()),
            cpe: Some(format!("cpe:2.3:a:postgresql:postgresql:{version}:*:*:*:*:*:*:*")),
            licence: Licence::Expression("PostgreSQL".to_owned()),
            ..Component::new(Kind::Application, "postgresql")
        },
    );
    if let Some(source) = source {
        let tarball = inventory.add("Source-postgresql", tarball(source));
        inventory.relate(&postgresql, Verb::GeneratedFrom, &tarball);
    }
    postgresql
}

fn tarball(source: &Source) -> Component {
    let url = source.origins.iter().find_map(|origin| match origin {
        Origin::Url(url) => Some(url.as_str().to_owned()),
        Origin::Debian(_) => None,
    });
    Component {
        version: Some(source.version.to_string()),
        supplier: Some(ORGANISATION),
        file_name: Some(format!("postgresql-{}.tar.bz2", source.version)),
        purl: Some(purl(source.version, Some((source, url.as_deref()))).to_string()),
        licence: Licence::Expression("PostgreSQL".to_owned()),
        sums: vec![Sum::sha256(source.digest)],
        size: Some(source.size),
        origin: url,
        ..Component::new(Kind::Source, "postgresql")
    }
}

/// `pkg:generic/postgresql@17.11`, with where and what a tarball is: the qualifiers that purl's specification knows.
fn purl(version: Version, tarball: Option<(&Source, Option<&str>)>) -> PackageUrl<'static> {
    let build = || {
        let mut purl = PackageUrl::new("generic", "postgresql")?;
        purl.with_version(version.to_string())?;
        if let Some((source, url)) = tarball {
            purl.add_qualifier("checksum", source.digest.to_string())?;
            if let Some(url) = url {
                purl.add_qualifier("download_url", url.to_owned())?;
            }
        }
        Ok::<_, packageurl::Error>(purl)
    };
    build().expect("a version and a URL make a package URL")
}
