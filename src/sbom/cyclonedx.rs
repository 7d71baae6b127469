//! An inventory as CycloneDX 1.6, in JSON (ECMA-424).
//!
//! The document is about one component, the inventory's root. Beside it stand the others, and the archives, each a file with
//! the files that are in it; what a component was made from is its ancestor.

use std::collections::BTreeMap;

use serde_cyclonedx::cyclonedx::v_1_6::{
    Attachment, Component as CycloneDxComponent, ComponentBuilder, ComponentEvidence, ComponentEvidenceItemOccurrences,
    ComponentPedigree, CycloneDx, Dependency, ExternalReference, Hash, HashAlg, License,
    LicenseAcknowledgementEnumeration, LicenseChoice, LicenseChoiceUrl, LicenseChoiceUrlVariant0ItemUrl,
    LicenseChoiceUrlVariant1ItemLicense, Metadata, MetadataItemLifecycles, MetadataItemLifecyclesVariant0,
    MetadataTools, MetadataToolsVariant0, OrganizationalEntity, Property,
};

use super::FORMAT;
use super::inventory::{Algorithm, Component, File, Id, Inventory, Kind, Licence, Relation, Sum, Verb};

/// The document's bytes.
pub(super) fn write(inventory: &Inventory) -> Vec<u8> {
    let mut files: BTreeMap<&Id, Vec<&File>> = BTreeMap::new();
    let mut owned: BTreeMap<&Id, Vec<&File>> = BTreeMap::new();
    for file in &inventory.files {
        files.entry(&file.archive).or_default().push(file);
        if let Some(owner) = &file.owner {
            owned.entry(owner).or_default().push(file);
        }
    }
    let shown = |(id, known): (&Id, &Component)| {
        let mut shown = component(inventory, id, known);
        shown.components = files.get(id).map(|files| files.iter().map(|one| file(one)).collect());
        // Nearly every file is PostgreSQL's own: what would be told of them is what the archives' components tell.
        if known.kind == Kind::Library {
            shown.evidence = owned.get(id).map(|files| occurrences(files));
        }
        shown
    };
    let others =
        inventory.components.iter().filter(|(id, one)| **id != inventory.root && !is_ancestor(inventory, id, one));
    let document = CycloneDx {
        schema: Some("http://cyclonedx.org/schema/bom-1.6.schema.json".to_owned()),
        annotations: None,
        bom_format: "CycloneDX".to_owned(),
        components: Some(others.map(shown).collect()),
        compositions: None,
        declarations: None,
        definitions: None,
        dependencies: Some(dependencies(inventory)),
        external_references: None,
        formulation: None,
        metadata: Some(metadata(inventory)),
        properties: Some(vec![property("pgproof:comment", &inventory.comment)]),
        serial_number: Some(inventory.uuid("CycloneDX").urn().to_string()),
        services: None,
        signature: None,
        spec_version: "1.6".to_owned(),
        version: Some(1),
        vulnerabilities: None,
    };
    let mut json = serde_json::to_vec_pretty(&document).expect("a document is JSON");
    json.push(b'\n');
    json
}

/// Whether a component is only there because another was made from it.
fn is_ancestor(inventory: &Inventory, id: &Id, component: &Component) -> bool {
    component.kind == Kind::Source
        && inventory.relations.iter().any(|relation| relation.verb == Verb::GeneratedFrom && relation.to == *id)
}

fn metadata(inventory: &Inventory) -> Metadata {
    // Not this program's version: the document would change with it and say the same.
    let tool = CycloneDxComponent { version: Some(FORMAT.to_string()), ..empty("application", "pgproof sbom") };
    Metadata {
        timestamp: Some(inventory.created.to_string()),
        lifecycles: Some(vec![MetadataItemLifecycles::Variant0(MetadataItemLifecyclesVariant0 {
            phase: inventory.phase.to_owned(),
        })]),
        tools: Some(MetadataTools::Variant0(MetadataToolsVariant0 { components: Some(vec![tool]), services: None })),
        component: Some(component(inventory, &inventory.root, &inventory.components[&inventory.root])),
        ..Metadata::default()
    }
}

fn component(inventory: &Inventory, id: &Id, known: &Component) -> CycloneDxComponent {
    let kind = match known.kind {
        Kind::Archive | Kind::Source => "file",
        Kind::Application => "application",
        Kind::Library | Kind::Package => "library",
        Kind::Image => "container",
    };
    let organisation =
        |name: &str| OrganizationalEntity { name: Some(name.to_owned()), ..OrganizationalEntity::default() };
    let ancestors: Vec<_> = inventory
        .related(id, Verb::GeneratedFrom)
        .map(|source| component(inventory, &Id::of(&format!("{source}-of-{id}")), &inventory.components[source]))
        .collect();
    let roles = inventory.relations.iter().filter(|relation| relation.from == *id).filter_map(role);
    let size = known.size.map(|size| property("pgproof:size", &size.to_string()));
    let properties: Vec<_> = roles.chain(size).collect();
    CycloneDxComponent {
        bom_ref: Some(id.to_string()),
        version: known.version.clone(),
        description: known.comment.clone(),
        supplier: known.supplier.map(organisation),
        manufacturer: known.originator.map(organisation),
        cpe: known.cpe.clone(),
        purl: known.purl.clone(),
        hashes: hashes(&known.sums),
        licenses: licences(&known.licence),
        scope: is_for_development(inventory, id).then(|| "excluded".to_owned()),
        pedigree: (!ancestors.is_empty())
            .then(|| ComponentPedigree { ancestors: Some(ancestors), ..ComponentPedigree::default() }),
        external_references: known.origin.as_ref().map(|url| {
            vec![ExternalReference {
                type_: if known.kind == Kind::Source { "source-distribution" } else { "distribution" }.to_owned(),
                url: url.as_str().into(),
                comment: None,
                hashes: hashes(&known.sums),
            }]
        }),
        properties: (!properties.is_empty()).then_some(properties),
        ..empty(kind, known.file_name.as_deref().filter(|_| kind == "file").unwrap_or(&known.name))
    }
}

/// What CycloneDX has no relation for.
fn role(relation: &Relation) -> Option<Property> {
    let role = match relation.verb {
        Verb::BuildToolOf => "build-tool",
        Verb::BuildDependencyOf => "build-dependency",
        Verb::Contains | Verb::DependsOn | Verb::GeneratedFrom | Verb::DevDependencyOf => return None,
    };
    Some(property("pgproof:role", role))
}

fn is_for_development(inventory: &Inventory, id: &Id) -> bool {
    inventory.relations.iter().any(|relation| relation.from == *id && relation.verb == Verb::DevDependencyOf)
}

fn file(file: &File) -> CycloneDxComponent {
    let owner = file.owner.as_ref().map(|owner| property("pgproof:component", &owner.to_string()));
    CycloneDxComponent {
        bom_ref: Some(file.id.to_string()),
        hashes: hashes(&file.sums),
        properties: Some(owner.into_iter().chain([property("pgproof:size", &file.size.to_string())]).collect()),
        ..empty("file", &file.path)
    }
}

/// Where a component's files are.
fn occurrences(files: &[&File]) -> ComponentEvidence {
    let place = |file: &&File| ComponentEvidenceItemOccurrences {
        additional_context: None,
        bom_ref: None,
        line: None,
        location: file.path.clone(),
        offset: None,
        symbol: None,
    };
    ComponentEvidence { occurrences: Some(files.iter().map(place).collect()), ..ComponentEvidence::default() }
}

/// What needs what: an archive what it contains, a component what it is linked with. A component without an entry has
/// dependencies that are not known, one with an empty entry none.
fn dependencies(inventory: &Inventory) -> Vec<Dependency> {
    let told = |(id, component): (&Id, &Component)| {
        if is_ancestor(inventory, id, component) {
            return None;
        }
        let mut needed: Vec<String> = [Verb::Contains, Verb::DependsOn]
            .into_iter()
            .flat_map(|verb| inventory.related(id, verb))
            .map(ToString::to_string)
            .collect();
        needed.sort();
        needed.dedup();
        // What a package of a distribution depends on is in no lockfile.
        let known = !needed.is_empty() || component.kind == Kind::Library;
        known.then(|| Dependency { ref_: id.to_string(), depends_on: Some(needed), provides: None })
    };
    inventory.components.iter().filter_map(told).collect()
}

fn licences(licence: &Licence) -> Option<LicenseChoice> {
    let declared = Some(LicenseAcknowledgementEnumeration::Declared);
    Some(match licence {
        Licence::Unknown => return None,
        // One licence of SPDX's list is told by its identifier, which validators know.
        Licence::Expression(id) if !id.contains(' ') && !id.contains("LicenseRef-") => {
            one(License { acknowledgement: declared, id: Some(id.clone()), ..License::default() })
        }
        Licence::Expression(expression) => LicenseChoiceUrl::Variant1(vec![LicenseChoiceUrlVariant1ItemLicense {
            acknowledgement: declared,
            bom_ref: None,
            expression: expression.clone(),
        }]),
        Licence::Text { id, text, .. } => one(License {
            acknowledgement: declared,
            name: Some(id.clone()),
            text: Some(Attachment {
                content: text.clone(),
                content_type: Some("text/plain".to_owned()),
                encoding: None,
            }),
            ..License::default()
        }),
    })
}

fn one(license: License) -> LicenseChoice {
    LicenseChoiceUrl::Variant0(vec![LicenseChoiceUrlVariant0ItemUrl { license }])
}

fn hashes(sums: &[Sum]) -> Option<Vec<Hash>> {
    let hash = |sum: &Sum| {
        let alg = match sum.algorithm {
            // SPDX cannot do without it; CycloneDX can.
            Algorithm::Sha1 => return None,
            Algorithm::Sha256 => HashAlg::Sha256,
            Algorithm::Sha512 => HashAlg::Sha512,
        };
        Some(Hash { alg, content: sum.hex.clone() })
    };
    let hashes: Vec<_> = sums.iter().filter_map(hash).collect();
    (!hashes.is_empty()).then_some(hashes)
}

fn property(name: &str, value: &str) -> Property {
    Property { name: name.to_owned(), value: Some(value.to_owned()) }
}

fn empty(kind: &str, name: &str) -> CycloneDxComponent {
    ComponentBuilder::default().type_(kind).name(name).build().expect("a component has to have a type and a name only")
}
