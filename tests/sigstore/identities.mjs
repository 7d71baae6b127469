// Who asks for certificates: workflows of repositories on GitHub, and people with an e-mail address.
import crypto from 'node:crypto';
import { createRequire } from 'node:module';

const { SignJWT, jwtVerify } = createRequire(import.meta.url)('jose');

const GITHUB = 'https://token.actions.githubusercontent.com';

function workflow(repository, name, ref) {
  const at = `${repository}/.github/workflows/${name}.yml@${ref}`;
  const sha = crypto.createHash('sha1').update(at).digest('hex');
  return {
    iss: GITHUB,
    sub: `repo:${repository}:ref:${ref}`,
    event_name: 'push',
    job_workflow_ref: at,
    job_workflow_sha: sha,
    ref,
    repository,
    repository_id: '1001',
    repository_owner: repository.split('/')[0],
    repository_owner_id: '2002',
    repository_visibility: 'public',
    run_attempt: '1',
    run_id: '3003',
    runner_environment: 'github-hosted',
    sha,
    workflow: name,
    workflow_ref: at,
    workflow_sha: sha,
  };
}

function person(url, email) {
  return { iss: `${url}/oauth2`, sub: email, email, email_verified: true };
}

export class Identities {
  static async create(url) {
    const identities = new Identities();
    // Cosign takes tokens with signatures of this kind only.
    identities.key = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    // What a job of GitHub Actions shows to get its identity token.
    identities.requestToken = 'a-job-of-mine';
    identities.claims = {
      builder: workflow('pgproof/releases', 'release', 'refs/tags/v1'),
      rebuilder: workflow('elsewhere/rebuilds', 'rebuild', 'refs/heads/main'),
      person: person(url, 'rebuilder@example.org'),
      stranger: person(url, 'stranger@example.net'),
    };
    identities.names = Object.keys(identities.claims);
    identities.tokens = { stranger: await identities.token('stranger', 'sigstore') };
    return identities;
  }

  token(name, audience) {
    return new SignJWT(this.claims[name])
      .setProtectedHeader({ alg: 'RS256' })
      .setAudience(audience)
      .setIssuedAt()
      .setNotBefore('0s')
      .setExpirationTime('1d')
      .sign(this.key.privateKey);
  }

  // The claims of a token, which is one of these and meant for Sigstore.
  async check(token) {
    const { payload } = await jwtVerify(token, this.key.publicKey, { audience: 'sigstore' });
    return payload;
  }
}
