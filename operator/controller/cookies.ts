/** Generates the missing cookies of sessions (`generate: true`) in Secrets. Existing cookies do not change. */
import { randomBytes } from "node:crypto";
import { type CookieSpec, type L2tpSession, SESSIONS } from "../api/types.ts";
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import {
  collectionPath,
  type KubeMeta,
  type KubeObject,
  objectPath,
  SECRETS,
} from "../kube/object.ts";

const COOKIE_BYTES = 8;

/** An owner reference of a Secret. */
export interface Owner {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

interface SecretObject extends KubeObject {
  readonly metadata: KubeMeta & { readonly ownerReferences?: readonly Owner[] };
  readonly data?: Readonly<Record<string, string>>;
}

/** Returns the Secret keys with `generate: true` of the session, by the Secret's name. */
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

/**
 * Creates the session's Secrets, or adds the missing keys.
 * @param isLive true if the owner is an existing session
 * @throws KubeError; Conflict if the Secret has changed meanwhile, or is deleted with a deleted session
 */
export async function generateCookies(
  client: KubeClient,
  session: L2tpSession,
  isLive: (owner: Owner) => boolean,
): Promise<void> {
  const { namespace } = session.metadata;
  for (const [name, keys] of wantedCookies(session)) {
    const secret = await find(client, namespace, name);
    if (secret !== null && isBeingDeleted(secret, isLive)) {
      const message = `Secret ${namespace}/${name} is being deleted with a deleted session`;
      throw new KubeError(409, "Conflict", message);
    }
    const missing = [...keys].filter((key) => secret?.data?.[key] === undefined);
    const data = Object.fromEntries(missing.map((key) => [key, newCookie()]));
    if (secret === null) await create(client, session, name, data);
    else await addTo(client, session, secret, data);
  }
}

/** True if the garbage collector deletes the Secret, or will. */
function isBeingDeleted({ metadata }: SecretObject, isLive: (owner: Owner) => boolean): boolean {
  if (metadata.deletionTimestamp !== undefined) return true;
  const owners = metadata.ownerReferences ?? [];
  const isDead = (owner: Owner) => owner.kind === SESSIONS.kind && !isLive(owner);
  return owners.length > 0 && owners.every(isDead);
}

/** Returns hexadecimal digits in base64, the form of a value in a Secret. */
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

function ownerOf({ apiVersion, metadata }: L2tpSession): Owner {
  return { apiVersion, kind: SESSIONS.kind, name: metadata.name, uid: metadata.uid ?? "" };
}

/** Creates a Secret with the session as owner. It is deleted with the last of its sessions. */
async function create(
  client: KubeClient,
  session: L2tpSession,
  name: string,
  data: Readonly<Record<string, string>>,
): Promise<void> {
  const { namespace } = session.metadata;
  const body = {
    apiVersion: SECRETS.apiVersion,
    kind: SECRETS.kind,
    metadata: { name, namespace, ownerReferences: [ownerOf(session)] },
    type: "Opaque",
    data,
  };
  const path = collectionPath(SECRETS, namespace);
  await client.request({ method: "POST", path, body });
}

/**
 * Adds keys to a Secret. A Secret that the controller has created gets the session as another owner; a
 * user's Secret gets no owner. The resource version prevents overwriting a key that was added meanwhile.
 */
async function addTo(
  client: KubeClient,
  session: L2tpSession,
  { metadata: { name, namespace, resourceVersion, ownerReferences = [] } }: SecretObject,
  data: Readonly<Record<string, string>>,
): Promise<void> {
  const isGenerated = ownerReferences.some(({ kind }) => kind === SESSIONS.kind);
  const isOwner = ownerReferences.some(({ uid }) => uid === session.metadata.uid);
  const becomesOwner = isGenerated && !isOwner;
  if (Object.keys(data).length === 0 && !becomesOwner) return;
  const owners = becomesOwner ? { ownerReferences: [...ownerReferences, ownerOf(session)] } : {};
  await client.request({
    method: "PATCH",
    path: objectPath(SECRETS, name, namespace),
    body: { metadata: { resourceVersion, ...owners }, data },
    contentType: "application/merge-patch+json",
  });
}
