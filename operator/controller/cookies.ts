/** Makes the cookies that sessions want made: random ones, in Secrets. One that is there stays. */
import { randomBytes } from "node:crypto";
import { type CookieSpec, type L2tpSession, SESSIONS } from "../api/types.ts";
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import { collectionPath, type KubeObject, objectPath, SECRETS } from "../kube/object.ts";

const COOKIE_BYTES = 8;

interface SecretObject extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** The Secrets' keys that the session wants made, by the Secret's name. */
export function wantedCookies({ spec }: L2tpSession): ReadonlyMap<string, ReadonlySet<string>> {
  const wanted = new Map<string, Set<string>>();
  const cookies: (CookieSpec | undefined)[] = [spec.cookies?.receive, spec.cookies?.transmit];
  for (const cookie of cookies) {
    if (cookie?.valueFrom?.generate !== true) continue;
    const { name, key } = cookie.valueFrom.secretKeyRef;
    const keys = wanted.get(name) ?? new Set();
    wanted.set(name, keys.add(key));
  }
  return wanted;
}

/** @throws KubeError; Conflict where somebody else writes the Secret at the same time */
export async function makeCookies(client: KubeClient, session: L2tpSession): Promise<void> {
  const { namespace } = session.metadata;
  for (const [name, keys] of wantedCookies(session)) {
    const secret = await find(client, namespace, name);
    const missing = [...keys].filter((key) => secret?.data?.[key] === undefined);
    if (missing.length === 0) continue;
    const data = Object.fromEntries(missing.map((key) => [key, newCookie()]));
    if (secret === null) await create(client, session, name, data);
    else await addTo(client, secret, data);
  }
}

/** Its hexadecimal digits, in base64 as a Secret holds them. */
function newCookie(): string {
  return Buffer.from(randomBytes(COOKIE_BYTES).toString("hex")).toString("base64");
}

async function find(
  client: KubeClient,
  namespace: string,
  name: string,
): Promise<SecretObject | null> {
  try {
    return await client.get<SecretObject>(objectPath(SECRETS, name, namespace));
  } catch (error) {
    if (error instanceof KubeError && error.isNotFound) return null;
    throw error;
  }
}

/** It goes with the session that it was made for. */
async function create(
  client: KubeClient,
  { apiVersion, metadata }: L2tpSession,
  name: string,
  data: Readonly<Record<string, string>>,
): Promise<void> {
  const owner = { apiVersion, kind: SESSIONS.kind, name: metadata.name, uid: metadata.uid };
  const body = {
    apiVersion: SECRETS.apiVersion,
    kind: SECRETS.kind,
    metadata: { name, namespace: metadata.namespace, ownerReferences: [owner] },
    type: "Opaque",
    data,
  };
  const path = collectionPath(SECRETS, metadata.namespace);
  await client.request({ method: "POST", path, body });
}

/** Its resource version goes along, so that a key that somebody has put there meanwhile stays. */
async function addTo(
  client: KubeClient,
  { metadata: { name, namespace, resourceVersion } }: SecretObject,
  data: Readonly<Record<string, string>>,
): Promise<void> {
  await client.request({
    method: "PATCH",
    path: objectPath(SECRETS, name, namespace),
    body: { metadata: { resourceVersion }, data },
    contentType: "application/merge-patch+json",
  });
}
