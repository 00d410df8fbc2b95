/**
 * What the controller has handed to this node. Of an object that has changed, the version that was
 * accepted last counts until the controller has accepted the new one: nothing else is ever programmed.
 */
import { isDeepStrictEqual } from "node:util";
import type { HeldObject } from "../../../model/conflicts.ts";
import { DECIDED } from "../../api/namespaces.ts";
import { acceptanceOf, heldOf, REMOVED, TEARDOWN_REASONS } from "../../api/placement.ts";
import { keyOf, type L2tpObject } from "../../api/types.ts";
import type { HeldObjects } from "../../resolve/held.ts";
import type { Document } from "../../resolve/intake.ts";
import type { Kind, Withdrawn } from "../source.ts";

const idOfObject = (kind: Kind, key: string): string => `${kind} ${key}`;

export class AcceptedObjects {
  readonly #nodeName: string;
  readonly #documents = new Map<string, Document>();
  readonly #withdrawn = new Map<string, Withdrawn>();

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  get documents(): readonly Document[] {
    return [...this.#documents.values()];
  }

  get withdrawn(): readonly Withdrawn[] {
    return [...this.#withdrawn.values()];
  }

  /**
   * The object as it is now in the cluster; undefined: it is not, or not this node's.
   * @returns whether there is a version to program that was not there before
   */
  take(kind: Kind, key: string, object: L2tpObject | undefined): boolean {
    const id = idOfObject(kind, key);
    // Another object of the same name inherits nothing.
    if (uidOf(this.#documents.get(id)) !== object?.metadata.uid) this.#documents.delete(id);
    if (object === undefined) {
      this.#documents.delete(id);
      this.#withdrawn.delete(id);
      return false;
    }
    const gone = this.#reasonToGo(object);
    if (gone !== null) {
      this.#documents.delete(id);
      const { generation } = object.metadata;
      const verdict = { type: "Programmed", status: "False" as const, ...gone };
      this.#withdrawn.set(id, { kind, key, generation, verdict });
      return false;
    }
    this.#withdrawn.delete(id);
    const acceptance = acceptanceOf(object);
    if (acceptance.state !== "accepted") return false;
    const content = complete(object, acceptance.id);
    const held = heldOf(object);
    const known = this.#documents.get(id);
    // What is the same stays the same: whoever has checked it need not do so again.
    const isSame = isDeepStrictEqual(known?.content, content);
    const document = { origin: id, content: isSame ? known?.content : content, held };
    this.#documents.set(id, { ...document, isFromApi: true });
    return !isSame;
  }

  /** The claims with which the controller has accepted them. */
  get held(): HeldObjects {
    const tunnels = new Map<string, HeldObject>();
    const sessions = new Map<string, HeldObject>();
    for (const { content, held } of this.#documents.values()) {
      const object = content as L2tpObject;
      const known = held ?? heldBefore(object);
      (object.kind === "L2tpTunnel" ? tunnels : sessions).set(keyOf(object), known);
    }
    return { tunnels, sessions };
  }

  /** What was known before the API server has said anything. @param known as `documents` gave it */
  restore(known: readonly Document[]): void {
    for (const document of known) this.#documents.set(document.origin, document);
  }

  /** Forgets what is not in the cluster any more. */
  prune(find: (kind: Kind, key: string) => L2tpObject | undefined): void {
    for (const [id, document] of this.#documents) {
      const [kind, key] = id.split(" ") as [Kind, string];
      if (find(kind, key)?.metadata.uid !== uidOf(document)) this.#documents.delete(id);
    }
  }

  #reasonToGo(object: L2tpObject): { reason: string; message: string } | null {
    if (object.metadata.deletionTimestamp !== undefined) {
      return { reason: REMOVED, message: "It is taken down, since it is being deleted." };
    }
    const acceptance = acceptanceOf(object);
    if (acceptance.state === "accepted" && acceptance.nodeName !== this.#nodeName) {
      const message = `It belongs to node ${acceptance.nodeName}.`;
      return { reason: "OtherNode", message };
    }
    if (acceptance.state !== "refused" || !TEARDOWN_REASONS.has(acceptance.reason)) return null;
    return { reason: "NotAccepted", message: acceptance.message };
  }
}

/** For an object in the cache of an older agent, which kept no claims. */
function heldBefore({ kind, metadata: { name } }: L2tpObject): HeldObject {
  return { claims: null, since: "", ...(kind === "L2tpSession" && { remoteEndId: name }) };
}

const uidOf = (document: Document | undefined): string | undefined =>
  (document?.content as L2tpObject | undefined)?.metadata.uid;

/** The object as a manifest would have it that leaves nothing open. */
function complete(object: L2tpObject, id: number): object {
  const { apiVersion, kind, metadata } = object;
  const { name, namespace, uid, generation } = metadata;
  const common = {
    apiVersion,
    kind,
    metadata: { name, ...(namespace && { namespace }), uid, generation },
  };
  if (object.kind === "L2tpSession") {
    return { ...common, spec: { ...object.spec, sessionId: id } };
  }
  const { spec, status } = object;
  const { local = {} } = spec;
  const isOpen = local.address === undefined && local.interface === undefined;
  const address = isOpen && status?.nodeAddress ? { address: status.nodeAddress } : {};
  const ends = { tunnelId: id, local: { ...local, ...address } };
  return { ...common, spec: { ...spec, ...ends, allowedNamespaces: DECIDED } };
}
