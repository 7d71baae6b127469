// Sigstore's JavaScript client, as a command.
//
//   node client.mjs attest FILE PAYLOAD-TYPE STATE TOKEN REKOR-VERSION     prints a bundle with FILE as a signed envelope's payload
//   node client.mjs sign FILE STATE TOKEN REKOR-VERSION                    prints a bundle with a signature of FILE
//   node client.mjs verify BUNDLE TRUSTED-ROOT IDENTITY ISSUER [FILE]      fails unless the bundle is good
//   node client.mjs verify-key BUNDLE PUBLIC-KEY [FILE]                    the same for a bundle without certificate and log
//
// STATE is where the services wrote what clients need.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(import.meta.url);
const { bundleFromJSON, bundleToJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { DSSEBundleBuilder, FulcioSigner, MessageSignatureBundleBuilder, RekorWitness, TSAWitness } = require('@sigstore/sign');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const json = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

const commands = {
  attest: (file, type, state, token, version) =>
    sign(DSSEBundleBuilder, { data: fs.readFileSync(file), type }, state, token, version),
  sign: (file, state, token, version) =>
    sign(MessageSignatureBundleBuilder, { data: fs.readFileSync(file) }, state, token, version),
  verify: (bundle, root, identity, issuer, file) => {
    const trusted = toTrustMaterial(TrustedRoot.fromJSON(json(root)));
    const verifier = new Verifier(trusted, { tlogThreshold: 1, ctlogThreshold: 1, timestampThreshold: 1 });
    const exactly = `^${identity.replace(/[.+*?^$()[\]{}|\\]/g, '\\$&')}$`;
    verifier.verify(entity(bundle, file), { subjectAlternativeName: exactly, extensions: { issuer } });
  },
  'verify-key': (bundle, key, file) => {
    const publicKey = crypto.createPublicKey(fs.readFileSync(key));
    const find = () => ({ publicKey, validFor: () => true });
    const trusted = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [], publicKey: find };
    new Verifier(trusted, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 }).verify(entity(bundle, file));
  },
};

async function sign(Builder, artifact, state, token, version) {
  const service = (all) => all[0].url;
  const { caUrls, rekorTlogUrls, tsaUrls } = json(path.join(state, `signing_config_v${version}.json`));
  const once = { retry: false, timeout: 10_000 };
  const identityProvider = { getToken: async () => fs.readFileSync(token, 'utf8').trim() };
  const rekor = { rekorBaseURL: service(rekorTlogUrls), majorApiVersion: Number(version), entryType: 'dsse', ...once };
  const builder = new Builder({
    certificateChain: false,
    signer: new FulcioSigner({ fulcioBaseURL: service(caUrls), identityProvider, ...once }),
    witnesses: [
      new RekorWitness(rekor),
      new TSAWitness({ tsaBaseURL: service(tsaUrls).replace('/api/v1/timestamp', ''), ...once }),
    ],
  });
  console.log(JSON.stringify(bundleToJSON(await builder.create(artifact))));
}

function entity(bundle, file) {
  return toSignedEntity(bundleFromJSON(json(bundle)), file && fs.readFileSync(file));
}

const [command, ...words] = process.argv.slice(2);
await commands[command](...words);
