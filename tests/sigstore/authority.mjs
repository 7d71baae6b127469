// The certificate authority, as Fulcio is: a root, an intermediate, short certificates, and a certificate log's promise in each.
import crypto from 'node:crypto';
import { createRequire } from 'node:module';

// Unlike import, this finds packages by NODE_PATH.
const require = createRequire(import.meta.url);
require('reflect-metadata');
const x509 = require('@peculiar/x509');
const { initializeCTLog } = require('@sigstore/mock');

x509.cryptoProvider.set(crypto.webcrypto);

const MINUTE = 60_000;
const KEY = { name: 'ECDSA', namedCurve: 'P-384' };
const SIGNING = { name: 'ECDSA', hash: 'SHA-384' };
const PROMISES = '1.3.6.1.4.1.11129.2.4.2';

// What a token says, and where Fulcio writes it. The first six, from before there were types, hold the bare text.
// See https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
const ISSUED = [
  [1, (c) => c.iss],
  [2, (c) => c.event_name],
  [3, (c) => c.sha],
  [4, (c) => c.workflow],
  [5, (c) => c.repository],
  [6, (c) => c.ref],
  [8, (c) => c.iss],
  [9, (c) => github(c.job_workflow_ref)],
  [10, (c) => c.job_workflow_sha],
  [11, (c) => c.runner_environment],
  [12, (c) => github(c.repository)],
  [13, (c) => c.sha],
  [14, (c) => c.ref],
  [15, (c) => c.repository_id],
  [16, (c) => github(c.repository_owner)],
  [17, (c) => c.repository_owner_id],
  [18, (c) => github(c.workflow_ref)],
  [19, (c) => c.workflow_sha],
  [20, (c) => c.event_name],
  [21, (c) => c.run_id && github(`${c.repository}/actions/runs/${c.run_id}/attempts/${c.run_attempt}`)],
  [22, (c) => c.repository_visibility],
];

export class Authority {
  static async create() {
    const authority = new Authority();
    // It ends before 2050, where the encoding of times changes.
    const validity = { notBefore: new Date(Date.now() - 24 * 60 * MINUTE), notAfter: new Date('2049-01-01') };
    const root = await crypto.webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
    authority.keys = await crypto.webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
    authority.root = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serial(),
      name: 'O=sigstore.test, CN=root',
      ...validity,
      signingAlgorithm: SIGNING,
      keys: root,
      extensions: await constraints(root.publicKey, root.publicKey, 1),
    });
    authority.intermediate = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: 'O=sigstore.test, CN=intermediate',
      issuer: authority.root.subject,
      ...validity,
      signingAlgorithm: SIGNING,
      publicKey: authority.keys.publicKey,
      signingKey: root.privateKey,
      extensions: [
        ...(await constraints(authority.keys.publicKey, root.publicKey, 0)),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.codeSigning]),
      ],
    });
    const log = () => initializeCTLog(crypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' }));
    [authority.certificateLog, authority.unknownLog] = [await log(), await log()];
    return authority;
  }

  get certificates() {
    return [this.intermediate, this.root].map((certificate) => Buffer.from(certificate.rawData));
  }

  // The chain for who has shown a token and the key that is to be certified, as PEM.
  async certify(request, claims, mood) {
    const key = await requestedKey(request, mood === 'other-identity' ? undefined : claims);
    const now = Date.now();
    const begins = mood === 'expired' ? now - 40 * MINUTE : now - 1000;
    const certificate = {
      serialNumber: serial(),
      notBefore: new Date(begins),
      notAfter: new Date(begins + 10 * MINUTE),
      issuer: this.intermediate.subject,
      publicKey: mood === 'other-key' ? this.keys.publicKey : key,
      signingAlgorithm: SIGNING,
      signingKey: this.keys.privateKey,
      extensions: [
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.codeSigning]),
        await x509.SubjectKeyIdentifierExtension.create(key),
        await x509.AuthorityKeyIdentifierExtension.create(this.keys.publicKey),
        new x509.SubjectAlternativeNameExtension([name(claims)], true),
        ...ISSUED.flatMap(([number, value]) => extension(number, value(claims))),
      ],
    };
    if (mood !== 'no-promise') {
      const promised = await x509.X509CertificateGenerator.create(certificate);
      const log = mood === 'forged-promise' ? this.unknownLog : this.certificateLog;
      certificate.extensions.push(await this.promise(promised, log));
    }
    const leaf = await x509.X509CertificateGenerator.create(certificate);
    return [leaf, this.intermediate, this.root].map((each) => `${each.toString('pem')}\n`);
  }

  // The certificate log's promise to include a certificate, which is not in the certificate yet (RFC 6962, section 3.3).
  async promise(certificate, log) {
    const issuer = crypto.createHash('sha256').update(Buffer.from(this.intermediate.publicKey.rawData)).digest();
    const promise = Buffer.from(await log.log(certificate.rawData, issuer));
    const length = Buffer.alloc(2);
    length.writeUInt16BE(promise.length);
    return new x509.Extension(PROMISES, false, octets(Buffer.concat([length, promise])));
  }
}

function github(place) {
  return place && `https://github.com/${place}`;
}

// Workflows are named by where they lie, people by their address.
function name(claims) {
  const workflow = github(claims.job_workflow_ref);
  return workflow ? { type: 'url', value: workflow } : { type: 'email', value: claims.email };
}

function extension(number, value) {
  if (!value) return [];
  const text = Buffer.from(value);
  return [new x509.Extension(`1.3.6.1.4.1.57264.1.${number}`, false, number < 7 ? text : utf8(text))];
}

function utf8(text) {
  return tagged(0x0c, text);
}

function octets(bytes) {
  return tagged(0x04, bytes);
}

// DER of what is shorter than 64 KiB.
function tagged(tag, bytes) {
  const length = bytes.length < 128 ? [bytes.length] : bytes.length < 256 ? [0x81, bytes.length] : [0x82, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), bytes]);
}

function serial() {
  // Neither negative nor with a zero in front.
  return `4${crypto.randomBytes(16).toString('hex').slice(1)}`;
}

async function constraints(key, issuer, below) {
  return [
    new x509.BasicConstraintsExtension(true, below, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.cRLSign | x509.KeyUsageFlags.keyCertSign, true),
    await x509.SubjectKeyIdentifierExtension.create(key),
    await x509.AuthorityKeyIdentifierExtension.create(issuer),
  ];
}

// The key that is to be certified; who asks has to have its other half.
async function requestedKey(request, claims) {
  if (request.certificateSigningRequest) {
    const wanted = new x509.Pkcs10CertificateRequest(Buffer.from(request.certificateSigningRequest, 'base64').toString());
    if (!(await wanted.verify())) throw new Error('the request is not signed with the key that it names');
    return wanted.publicKey;
  }
  const { publicKey, proofOfPossession } = request.publicKeyRequest;
  const key = crypto.createPublicKey(publicKey.content);
  const subject = claims && Buffer.from(claims.email ?? claims.sub);
  if (subject && !crypto.verify('sha256', subject, key, Buffer.from(proofOfPossession, 'base64'))) {
    throw new Error('the key is not shown to be had: the signature of the subject is wrong');
  }
  return new x509.PublicKey(key.export({ format: 'der', type: 'spki' }));
}
