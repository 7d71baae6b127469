// The files by which clients know the services and trust them, and the TUF repository that hands these files out.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const { initializeTUFRepo, tufHandlers } = createRequire(import.meta.url)('@tufjs/repo-mock');

const DAY = 86_400_000;
const OPERATOR = 'sigstore.test';

// Writes them all, and gives what is to be served, by path.
export function writeTrust({ directory, url, authority, logs, timestamps }) {
  const start = new Date(Date.now() - DAY).toISOString();
  const root = trustedRoot({ url, start, authority, logs, timestamps });
  const configurations = [1, 2].map((version) => signingConfig({ url, start, version }));
  const write = (name, value) => fs.writeFileSync(path.join(directory, name), JSON.stringify(value, null, 1));
  write('trusted_root.json', root);
  configurations.forEach((signing, index) => {
    write(`signing_config_v${index + 1}.json`, signing);
    write(`trust_config_v${index + 1}.json`, {
      mediaType: 'application/vnd.dev.sigstore.clienttrustconfig.v0.1+json',
      trustedRoot: root,
      signingConfig: signing,
    });
  });
  const repository = initializeTUFRepo([
    { name: 'trusted_root.json', content: JSON.stringify(root) },
    { name: 'signing_config.v0.2.json', content: JSON.stringify(configurations[0]) },
  ]);
  const handlers = tufHandlers(repository, { metadataPathPrefix: '/tuf', targetPathPrefix: '/tuf/targets' });
  const files = {};
  for (const { path: place, fn } of handlers) {
    const { statusCode, response } = fn();
    if (statusCode === 200) files[place] = response;
  }
  fs.writeFileSync(path.join(directory, 'tuf-root.json'), files['/tuf/1.root.json']);
  return files;
}

function trustedRoot({ url, start, authority, logs, timestamps }) {
  const since = { validFor: { start } };
  const chain = (certificates) => ({ certificates: certificates.map((bytes) => ({ rawBytes: base64(bytes) })) });
  const log = (baseUrl, { encoded, algorithm, id }) => ({
    baseUrl,
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: base64(encoded), keyDetails: algorithm, ...since },
    logId: { keyId: base64(id) },
  });
  const promises = authority.certificateLog.publicKey;
  const promisesId = crypto.createHash('sha256').update(promises).digest();
  return {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    tlogs: [log(url, logs.v1), log(`${url}/rekor-v2`, logs.v2)],
    certificateAuthorities: [
      { subject: { organization: OPERATOR, commonName: 'root' }, uri: url, certChain: chain(authority.certificates), ...since },
    ],
    ctlogs: [log(url, { encoded: promises, algorithm: 'PKIX_ECDSA_P256_SHA_256', id: promisesId })],
    timestampAuthorities: [
      {
        subject: { organization: OPERATOR, commonName: 'timestamps' },
        uri: `${url}/api/v1/timestamp`,
        certChain: chain(timestamps.certificates),
        ...since,
      },
    ],
  };
}

function signingConfig({ url, start, version }) {
  const service = (address, majorApiVersion) => ({ url: address, majorApiVersion, validFor: { start }, operator: OPERATOR });
  return {
    mediaType: 'application/vnd.dev.sigstore.signingconfig.v0.2+json',
    caUrls: [service(url, 1)],
    oidcUrls: [service(`${url}/oauth2`, 1)],
    rekorTlogUrls: [version === 2 ? service(`${url}/rekor-v2`, 2) : service(url, 1)],
    rekorTlogConfig: { selector: 'ANY' },
    tsaUrls: [service(`${url}/api/v1/timestamp`, 1)],
    tsaConfig: { selector: 'ANY' },
  };
}

function base64(bytes) {
  return Buffer.from(bytes).toString('base64');
}
