// Sigstore's JavaScript client, as a command.
//
//   node client.mjs attest SIGNING-CONFIG TOKEN FILE PAYLOAD-TYPE        prints a bundle with FILE as a signed envelope's payload
//   node client.mjs sign SIGNING-CONFIG TOKEN FILE                       prints a bundle with a signature of FILE
//   node client.mjs verify BUNDLE TRUSTED-ROOT IDENTITY ISSUER [FILE]    fails unless the bundle is good
//   node client.mjs verify-key BUNDLE PUBLIC-KEY [FILE]                  the same for a bundle without certificate and log
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const { bundleFromJSON, bundleToJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { DSSEBundleBuilder, FulcioSigner, MessageSignatureBundleBuilder, RekorWitness, TSAWitness } = require('@sigstore/sign');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const json = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));

const commands = {
  attest: (config, token, file, type) => sign(DSSEBundleBuilder, config, token, { data: fs.readFileSync(file), type }),
  sign: (config, token, file) => sign(MessageSignatureBundleBuilder, config, token, { data: fs.readFileSync(file) }),
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

async function sign(Builder, config, token, artifact) {
  const { caUrls, rekorTlogUrls, tsaUrls } = json(config);
  const once = { retry: false, timeout: 10_000 };
  const identityProvider = { getToken: async () => fs.readFileSync(token, 'utf8').trim() };
  const [{ url: fulcioBaseURL }, log, { url: timestamps }] = [caUrls[0], rekorTlogUrls[0], tsaUrls[0]];
  const builder = new Builder({
    certificateChain: false,
    signer: new FulcioSigner({ fulcioBaseURL, identityProvider, ...once }),
    witnesses: [
      new RekorWitness({ rekorBaseURL: log.url, majorApiVersion: log.majorApiVersion, entryType: 'dsse', ...once }),
      new TSAWitness({ tsaBaseURL: timestamps, ...once }),
    ],
  });
  console.log(JSON.stringify(bundleToJSON(await builder.create(artifact))));
}

function entity(bundle, file) {
  return toSignedEntity(bundleFromJSON(json(bundle)), file && fs.readFileSync(file));
}

const [command, ...words] = process.argv.slice(2);
await commands[command](...words);
