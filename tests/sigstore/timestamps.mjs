// A timestamp authority (RFC 3161), which is OpenSSL's.
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const CONFIGURATION = (directory) => `
[req]
distinguished_name = name
prompt = no
[name]
O = sigstore.test
CN = timestamps
[root]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[authority]
serial = ${directory}/serial
signer_cert = ${directory}/leaf.pem
signer_key = ${directory}/leaf.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.57264.2
digests = sha256,sha384,sha512
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`;
// Until 2049, as the authority's own.
const DAYS = String(Math.floor((Date.parse('2049-01-01') - Date.now()) / 86_400_000));

export class TimestampAuthority {
  constructor(directory) {
    fs.mkdirSync(directory, { recursive: true });
    this.directory = path.resolve(directory);
    this.asked = 0;
    fs.writeFileSync(this.file('configuration'), CONFIGURATION(this.directory));
    fs.writeFileSync(this.file('serial'), '01\n');
    for (const name of ['root', 'leaf']) {
      openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', this.file(`${name}.key`));
    }
    const configured = ['-config', this.file('configuration')];
    openssl('req', '-x509', '-new', '-key', this.file('root.key'), '-subj', '/O=sigstore.test/CN=timestamps root',
      '-days', DAYS, ...configured, '-extensions', 'root', '-out', this.file('root.pem'));
    openssl('req', '-new', '-key', this.file('leaf.key'), ...configured, '-out', this.file('leaf.csr'));
    openssl('x509', '-req', '-in', this.file('leaf.csr'), '-CA', this.file('root.pem'), '-CAkey', this.file('root.key'),
      '-CAcreateserial', '-days', DAYS, '-extfile', this.file('configuration'), '-extensions', 'leaf', '-out', this.file('leaf.pem'));
  }

  file(name) {
    return path.join(this.directory, name);
  }

  get certificates() {
    return ['leaf.pem', 'root.pem'].map((name) => new crypto.X509Certificate(fs.readFileSync(this.file(name))).raw);
  }

  answer({ headers, body }, mood) {
    const asked = this.file(`${this.asked++}.query`);
    if (mood === 'other-message') {
      this.ask(crypto.createHash('sha256').update('something else').digest(), asked);
    } else if (headers['content-type']?.includes('json')) {
      this.ask(Buffer.from(JSON.parse(body).artifactHash, 'base64'), asked);
    } else {
      fs.writeFileSync(asked, body);
    }
    return openssl('ts', '-reply', '-config', this.file('configuration'), '-section', 'authority', '-queryfile', asked);
  }

  ask(digest, into) {
    openssl('ts', '-query', '-digest', digest.toString('hex'), '-sha256', '-cert', '-out', into);
  }
}

function openssl(...words) {
  return execFileSync('openssl', words, { stdio: ['ignore', 'pipe', 'ignore'] });
}
