/** What CNI asks of the agent. Callers see to it that one call runs at a time. */
import { announce } from "../../datapath/announce.ts";
import { findLink } from "../../datapath/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { linkId, parseLinkLabel } from "../../l2tp/link-label.ts";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";
import { bridgeName, portName, stableMac } from "../convert/desired.ts";
import { isAgreedOn } from "../convert/halves.ts";
import type { Resolved, ResolvedSession } from "../convert/resolve.ts";
import type { Failures } from "../convert/status.ts";
import type { AttachmentStore } from "./attachments.ts";
import { AgentError } from "./errors.ts";
import type { Node } from "./node.ts";
import { findLinkIn, isAlive, netnsIdentity, requirePodNetns } from "./pod-netns.ts";
import type {
  Attached,
  AttachedInterface,
  AttachRequest,
  CniCall,
  DetachCall,
  SessionRequest,
} from "./protocol.ts";

export interface AttachContext {
  readonly nodeName: string;
  readonly node: Node;
  readonly store: AttachmentStore;
  /** What the manifests say; null before the first pass. */
  resolved(): Resolved | null;
  /** A whole pass, for when the short way fails. */
  pass(): Promise<Failures>;
  /** Marks a step for tests that end the process there. */
  reached(step: AttachStep): void;
}

export type AttachStep = "recorded" | "placed" | "announced" | "leaving" | "left";

function notEstablished({ session: { key } }: ResolvedSession, why: string): AgentError {
  const remedy = "the runtime will try again; see l2tpctl tunnels on the node";
  return new AgentError("SessionNotReady", `L2tpSession ${key} is not established: ${why}`, remedy);
}

const callKey = ({ containerId, cniIfname }: CniCall): string => `${containerId}/${cniIfname}`;

export class Attacher {
  readonly #context: AttachContext;

  constructor(context: AttachContext) {
    this.#context = context;
  }

  /** What a repeated ADD is to answer; null where there was none. @throws AgentError where it must not be */
  prepare(request: SessionRequest): Attached | null {
    const resolved = this.#requireSession(request);
    const known = this.#context.store.get(attachmentKey(request));
    if (known !== undefined && this.#isSame(known, request)) {
      return this.#describe(resolved, known);
    }
    this.#requireFree(resolved, request, known);
    return null;
  }

  /** Does what an ADD asks for; where that was done before, it says the same again. @throws AgentError */
  async attach(request: AttachRequest): Promise<Attached> {
    const resolved = this.#requireSession(request);
    const { store, reached } = this.#context;
    const before = store.get(attachmentKey(request));
    if (before !== undefined && this.#isSame(before, request)) {
      return this.#describe(resolved, before);
    }
    const netnsIdentity = this.#requireFree(resolved, request, before);
    await this.#requireAgreed(resolved);
    this.#forgetDead(resolved.session.key);
    const attachment = this.#record(resolved, request, netnsIdentity);
    this.#remember(attachment);
    reached("recorded");
    const failures = await this.#converge(resolved, attachment).catch(async (error) => {
      // Nothing that an ADD which failed has written down may be taken for an ADD that did not.
      await this.#detachOne(attachment).catch(() => {});
      throw error;
    });
    const failure =
      failures.get(`tunnel ${resolved.session.tunnel}`) ??
      failures.get(`session ${attachment.session}`);
    if (failure !== undefined) {
      await this.#detachOne(attachment);
      const remedy = "see l2tpctl doctor on the node; the runtime will try again";
      throw new AgentError("ApplyFailed", `${attachment.session}: ${failure.message}`, remedy);
    }
    if (this.#lacksInterface(resolved, attachment)) {
      await this.#detachOne(attachment);
      throw notEstablished(resolved, "the ends have to agree on it anew");
    }
    reached("placed");
    announce(attachment.netns, attachment.ifname, attachment.mac, attachment.addresses);
    reached("announced");
    return this.#describe(resolved, attachment);
  }

  /** What is not written down would be taken away by the next pass after a restart. */
  #remember(attachment: Attachment): void {
    try {
      this.#context.store.put(attachment);
    } catch (error) {
      const message = `the attachment cannot be written down: ${(error as Error).message}`;
      const remedy = "make room in the agent's state folder (--state-dir)";
      throw new AgentError("StateNotWritable", message, remedy);
    }
  }

  /** What it took away: nothing where all is gone already. @throws AgentError where it cannot be */
  async detach(call: DetachCall): Promise<readonly Attachment[]> {
    const attachments = this.#madeBy(call);
    for (const attachment of attachments) await this.#detachOne(attachment);
    await this.#detachUnreadable(call);
    return attachments;
  }

  /** A whole pass takes their sessions back; their interfaces are known by name alone. */
  async #detachUnreadable(call: DetachCall): Promise<void> {
    const { store, node, pass } = this.#context;
    const names = store.dropUnreadable(call);
    if (names.length === 0) return;
    await pass();
    for (const name of names) await node.removeLeftInterface(call.netns, name);
  }

  #madeBy({ containerId, cniIfname }: CniCall): Attachment[] {
    return [...this.#context.store.all()].filter(
      (item) => item.containerId === containerId && item.cniIfname === cniIfname,
    );
  }

  async #detachOne(attachment: Attachment): Promise<void> {
    const { store, reached } = this.#context;
    const leaving: Attachment = { ...attachment, leaving: true };
    // Only what is there can be taken away; a full disk must not keep a pod from going.
    if (!attachment.leaving) store.putIfPossible(leaving);
    reached("leaving");
    const resolved = this.#context.resolved()?.sessions.get(attachment.session);
    if (resolved === undefined) {
      await this.#context.node.removeInterface(leaving);
    } else {
      const failures = await this.#converge(resolved, leaving);
      const failure = failures.get(`session ${attachment.session}`);
      // What else is wrong with the session is no reason to keep a pod from going.
      if (failure !== undefined && (await this.#isStillThere(resolved, leaving))) {
        const remedy = "it is tried again; see l2tpctl doctor on the node";
        throw new AgentError("ApplyFailed", `${attachment.session}: ${failure.message}`, remedy);
      }
    }
    store.delete(attachmentKey(attachment));
    reached("left");
  }

  async #isStillThere(resolved: ResolvedSession, leaving: Attachment): Promise<boolean> {
    if (!isAlive(leaving)) return false;
    const { actions } = await this.#context.node.planFor(resolved, leaving);
    return actions.some((action) => action.do === "deleteLink");
  }

  /** @throws AgentError that says what is not as it should be, and cannot be mended */
  async check(call: CniCall): Promise<readonly string[]> {
    const attachments = this.#madeBy(call);
    for (const attachment of attachments) await this.#checkOne(attachment);
    return attachments.map(({ ifname }) => ifname);
  }

  async #checkOne(attachment: Attachment): Promise<void> {
    const resolved = this.#requireSession({ ...attachment, pod: null });
    const failures = await this.#converge(resolved, attachment);
    const { actions } = await this.#context.node.planFor(resolved, attachment);
    if (actions.length === 0) {
      if (!this.#lacksInterface(resolved, attachment)) return;
      const message = `${attachment.session} is not established: ${attachment.ifname} is not there until it is`;
      throw new AgentError("Drift", message, "see l2tpctl tunnels on the node");
    }
    const failure = failures.get(`session ${attachment.session}`);
    const what = failure?.message ?? actions.map((action) => action.do).join(", ");
    const message = `${attachment.session} at ${attachment.ifname} is not as it should be: ${what}`;
    throw new AgentError("Drift", message, "see l2tpctl doctor on the node");
  }

  async gc(network: string, valid: readonly CniCall[], before: string): Promise<void> {
    const keep = new Set(valid.map(callKey));
    const errors: unknown[] = [];
    for (const attachment of [...this.#context.store.all()]) {
      const isStale =
        attachment.network === network &&
        attachment.createdAt <= before &&
        !keep.has(callKey(attachment));
      if (isStale) await this.#detachOne(attachment).catch((error) => errors.push(error));
    }
    // One that resists must not protect the others (CNI specification, GC).
    if (errors.length > 0) throw errors[0];
  }

  /** One session; where that fails, a whole pass, which also finds what was moved by hand. */
  async #converge(resolved: ResolvedSession, attachment: Attachment): Promise<Failures> {
    const failures = await this.#context.node.convergeFor(resolved, attachment);
    return failures.size === 0 ? failures : this.#context.pass();
  }

  #requireSession(request: Omit<SessionRequest, "netns"> & { netns: string }): ResolvedSession {
    const resolved = this.#context.resolved();
    if (resolved === null) {
      throw new AgentError("NotReady", "the agent has not read its objects yet", "try again");
    }
    const { session: key, pod } = request;
    const namespace = key.split("/")[0];
    const podNamespace = pod?.split("/")[0];
    if (podNamespace !== undefined && podNamespace !== namespace) {
      const message = `L2tpSession ${key} is of another namespace than pod ${pod}`;
      const remedy = `use a session of namespace ${podNamespace}`;
      throw new AgentError("NamespaceMismatch", message, remedy);
    }
    const session = resolved.sessions.get(key);
    if (session !== undefined) return session;
    const refusal = resolved.refusedSessions.get(key);
    if (refusal !== undefined) {
      const remedy = "correct the object; its status says the same";
      throw new AgentError("SessionNotReady", `L2tpSession ${key}: ${refusal.message}`, remedy);
    }
    const message = `no L2tpSession ${key} on node ${this.#context.nodeName}`;
    const remedy = "create it, correct the name, or run the pod on the node of its tunnel";
    throw new AgentError("UnknownSession", message, remedy);
  }

  /** In the kernel there is no interface before there is a session. @throws AgentError */
  async #requireAgreed(resolved: ResolvedSession): Promise<void> {
    const why = await this.#context.node.whyNotAgreed(resolved);
    if (why !== null) throw notEstablished(resolved, why);
  }

  /** Then nothing is wrong with the node, and the pod has nothing all the same. */
  #lacksInterface(resolved: ResolvedSession, { netns, ifname }: Attachment): boolean {
    return isAgreedOn(resolved) && findLinkIn(netns, ifname) === undefined;
  }

  #isSame(known: Attachment, request: SessionRequest): boolean {
    return (
      !known.leaving &&
      known.session === request.session &&
      known.netnsIdentity === netnsIdentity(request.netns)
    );
  }

  /** Returns what tells the pod's namespace from others. @throws AgentError */
  #requireFree(
    resolved: ResolvedSession,
    request: SessionRequest,
    own: Attachment | undefined,
  ): string {
    const identity = requirePodNetns(request.netns);
    if (own !== undefined && !own.leaving && isAlive(own) && own.session !== request.session) {
      const message = `interface ${own.ifname} of the container is attached to ${own.session}`;
      throw new AgentError("InterfaceExists", message, "detach it first, with DEL");
    }
    this.#requireName(request, own);
    if (resolved.mode !== "Direct") return identity;
    const holder = this.#context.store
      .livingOf(resolved.session.key)
      .find((other) => attachmentKey(other) !== attachmentKey(request));
    if (holder === undefined) {
      this.#requireNotHeld(resolved, request);
      return identity;
    }
    const message = `L2tpSession ${resolved.session.key} is attached to ${holder.pod} (${holder.ifname})`;
    const remedy = "end that pod first, or set spec.attachment.mode: Bridge";
    throw new AgentError("SessionBusy", message, remedy);
  }

  /** Another pod may have the session, and its attachment cannot be read. */
  #requireNotHeld({ session: { key } }: ResolvedSession, request: SessionRequest): void {
    const { node, store } = this.#context;
    if (!node.held.has(key) || store.ownsUnreadable(request)) return;
    const paths = store.unreadable.map(({ path }) => path).join(", ");
    const message = `L2tpSession ${key} may be attached to a pod whose attachment cannot be read (${paths})`;
    const remedy = "end that pod first; if it is gone, delete the file";
    throw new AgentError("SessionBusy", message, remedy);
  }

  /** CNI_IFNAME must not be another's. What an ADD of ours left behind half-done is ours. */
  #requireName(request: SessionRequest, own: Attachment | undefined): void {
    const socket = new NetlinkSocket(NETLINK_ROUTE, request.netns);
    try {
      const link = findLink(socket, request.ifname);
      if (link === undefined || own !== undefined) return;
      const id = parseLinkLabel(link.alias);
      const isOurs =
        link.alias === linkId.pod(attachmentKey(request)) ||
        (id?.kind === "pseudowire" && id.key === request.session);
      if (isOurs) return;
    } finally {
      socket.close();
    }
    const message = `the container has an interface ${request.ifname} already`;
    throw new AgentError("InterfaceExists", message, "choose another name for the pseudowire's");
  }

  /** Pods that went without a DEL hold nothing any more. */
  #forgetDead(session: string): void {
    const { store } = this.#context;
    for (const attachment of store.ofSession(session)) {
      if (!isAlive(attachment)) store.delete(attachmentKey(attachment));
    }
  }

  #record(resolved: ResolvedSession, request: AttachRequest, netnsIdentity: string): Attachment {
    const { nodeName } = this.#context;
    const { containerId, cniIfname, ifname, netns, session } = request;
    const { network, addresses, routes, ipam } = request;
    // A pod that takes over a session takes over its address: switches know it already.
    const ownMac =
      resolved.mode === "Direct"
        ? stableMac(nodeName, session)
        : stableMac(nodeName, session, containerId, ifname);
    return {
      containerId,
      cniIfname,
      ifname,
      netns,
      netnsIdentity,
      session,
      pod: request.pod ?? containerId,
      network,
      mac: request.mac?.toLowerCase() ?? ownMac,
      addresses,
      routes,
      createdAt: new Date().toISOString(),
      leaving: false,
      ipam,
    };
  }

  #describe({ session, mode }: ResolvedSession, attachment: Attachment): Attached {
    const { ifname, mac, netns, addresses, ipam } = attachment;
    const interfaces: AttachedInterface[] = [{ name: ifname, mac, sandbox: netns }];
    if (mode === "Bridge") {
      const { socket } = this.#context.node;
      for (const name of [portName(attachment), bridgeName(session.sessionId)]) {
        interfaces.unshift({ name, mac: findLink(socket, name)?.mac ?? "" });
      }
    }
    return { interfaces, mtu: session.mtu, addresses, ipam };
  }
}
