/**
 * The objects that the controller has assigned to this node, in their last accepted version. A changed object is
 * programmed only after the controller has accepted the change.
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
   * Applies a change of an object.
   * @param object as it is in the cluster; undefined: deleted, or not of this node
   * @returns true if there is a new version to program
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
    // Unchanged content keeps its identity, by which the intake caches its checks.
    const isSame = isDeepStrictEqual(known?.content, content);
    const document = { origin: id, content: isSame ? known?.content : content, held };
    this.#documents.set(id, { ...document, isFromApi: true });
    return !isSame;
  }

  /** Claims with which the controller has accepted the objects. */
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

  /** Restores documents from the cache, until the API server answers. @param known an earlier value of `documents` */
  restore(known: readonly Document[]): void {
    for (const document of known) this.#documents.set(document.origin, document);
  }

  /** Removes documents of objects that are no longer in the cluster. */
  prune(find: (kind: Kind, key: string) => L2tpObject | undefined): void {
    for (const [id, document] of this.#documents) {
      const [kind, key] = id.split(" ") as [Kind, string];
      if (find(kind, key)?.metadata.uid !== uidOf(document)) this.#documents.delete(id);
    }
  }

  #reasonToGo(object: L2tpObject): { reason: string; message: string } | null {
    if (object.metadata.deletionTimestamp !== undefined) {
      return { reason: REMOVED, message: "The object is being deleted." };
    }
    const acceptance = acceptanceOf(object);
    if (acceptance.state === "accepted" && acceptance.nodeName !== this.#nodeName) {
      const message = `The object belongs to node ${acceptance.nodeName}.`;
      return { reason: "OtherNode", message };
    }
    if (acceptance.state !== "refused" || !TEARDOWN_REASONS.has(acceptance.reason)) return null;
    return { reason: "NotAccepted", message: acceptance.message };
  }
}

/** Returns the claims of an object from the cache of an older agent, which stored none. */
function heldBefore({ kind, metadata: { name } }: L2tpObject): HeldObject {
  return { claims: null, since: "", ...(kind === "L2tpSession" && { remoteEndId: name }) };
}

const uidOf = (document: Document | undefined): string | undefined =>
  (document?.content as L2tpObject | undefined)?.metadata.uid;

/** Returns the object as a manifest with all values that the controller has decided. */
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
