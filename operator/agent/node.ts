/**
 * The agent's view of its node, and how it changes it: observe → plan → apply, over everything or over
 * one session. Callers see to it that one call runs at a time (serial.ts).
 */
import { deleteLink, findLink } from "../../datapath/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import type { DatapathClient } from "../../datapath/tap/client.ts";
import type { Listing } from "../../datapath/tap/protocol.ts";
import { type Action, type Desired, linkId, type Observed, plan } from "../../l2tp/plan.ts";
import { type Attachment, attachmentKey } from "../convert/attachment.ts";
import {
  bridgeName,
  desireLinks,
  desireSession,
  deviceName,
  portName,
  type Spared,
  sparing,
} from "../convert/desired.ts";
import type { Resolved, ResolvedSession } from "../convert/resolve.ts";
import type { Failures } from "../convert/status.ts";
import { applyPlan } from "./apply.ts";
import type { AttachmentStore } from "./attachments.ts";
import { observeAll, observeSome, programmed } from "./observe.ts";
import { isAlive } from "./pod-netns.ts";

interface PassResult {
  readonly actions: readonly Action[];
  readonly failures: Failures;
}

export class Node {
  readonly socket = new NetlinkSocket(NETLINK_ROUTE, null);
  readonly #name: string;
  readonly #datapath: DatapathClient;
  readonly #attachments: AttachmentStore;

  constructor(name: string, datapath: DatapathClient, attachments: AttachmentStore) {
    this.#name = name;
    this.#datapath = datapath;
    this.#attachments = attachments;
  }

  close(): void {
    this.socket.close();
  }

  list(): Promise<Listing> {
    return this.#datapath.list();
  }

  /** Makes the whole node what `resolved` and the attachments say. */
  async converge(
    resolved: Pick<Resolved, "tunnels" | "sessions">,
    spared: Spared,
    listing: Listing,
  ): Promise<PassResult> {
    const living = [...this.#attachments.all()].filter(isAlive);
    const observed = observeAll(this.socket, listing, living);
    const wanted = living.filter(({ leaving }) => !leaving);
    const desired = {
      tunnels: Array.from(resolved.tunnels.values(), ({ tunnel }) => tunnel),
      ...desireLinks(
        resolved.sessions.values(),
        Map.groupBy(wanted, ({ session }) => session),
        this.#name,
      ),
    };
    const spare = sparing(desired, observed, spared);
    return this.#apply(spare, observed, plan(spare, observed));
  }

  /** What an attachment and its session lack: nothing where all is as it should be. */
  async planFor(
    resolved: ResolvedSession,
    attachment: Attachment,
  ): Promise<{ desired: Desired; observed: Observed; actions: Action[] }> {
    const key = attachmentKey(attachment);
    const { session } = resolved;
    const ids = new Set([
      linkId.pseudowire(session.key),
      linkId.bridge(session.key),
      linkId.port(key),
      linkId.pod(key),
    ]);
    // The datapath answers while the kernel is asked.
    const listed = this.#datapath.list([session.key]);
    listed.catch(() => {});
    const links = observeSome(this.socket, {
      ids,
      names: [deviceName(session.sessionId), bridgeName(session.sessionId), portName(attachment)],
      attachment: isAlive(attachment) ? attachment : null,
    });
    const whole = desireSession(resolved, this.#attachments.livingOf(session.key), this.#name);
    const listing = await listed;
    // Where nobody is attached, a session that could not be programmed need not be now.
    const isIdle = whole.session.link === null && listing.sessions.length === 0;
    const desired: Desired = {
      tunnels: [],
      sessions: isIdle ? [] : [whole.session],
      links: whole.links.filter(({ id }) => ids.has(id)),
      pairs: whole.pairs.filter(({ port }) => ids.has(port)),
    };
    const observed = { ...programmed(listing), links };
    return { desired, observed, actions: plan(desired, observed) };
  }

  /** Makes one attachment and its session what they should be. */
  async convergeFor(resolved: ResolvedSession, attachment: Attachment): Promise<Failures> {
    const { desired, observed, actions } = await this.planFor(resolved, attachment);
    return (await this.#apply(desired, observed, actions)).failures;
  }

  /**
   * Takes an interface away whose session nobody can resolve now: its manifest is broken. The
   * session's own device goes for good; it is made anew when the session is whole again.
   */
  async removeInterface(attachment: Attachment): Promise<void> {
    if (!isAlive(attachment)) return;
    const socket = new NetlinkSocket(NETLINK_ROUTE, attachment.netns);
    try {
      const id = findLink(socket, attachment.ifname)?.alias;
      if (id === linkId.pseudowire(attachment.session)) {
        await this.#datapath.apply([{ op: "deleteSession", key: attachment.session }]);
      } else if (id !== linkId.pod(attachmentKey(attachment))) {
        return;
      }
      const link = findLink(socket, attachment.ifname);
      if (link?.alias === id && link !== undefined)
        await deleteLink(socket, attachment.netns, link.index);
    } finally {
      socket.close();
    }
  }

  async #apply(desired: Desired, observed: Observed, actions: Action[]): Promise<PassResult> {
    const bridges = [...desired.links, ...observed.links].filter(({ kind }) => kind === "bridge");
    const failures = await applyPlan(actions, {
      socket: this.socket,
      applyChanges: (changes) => this.#datapath.apply(changes),
      bridgeNames: new Map(bridges.reverse().map(({ id, name }) => [id, name])),
      sessionOfAttachment: (key) => this.#attachments.get(key)?.session,
    });
    return { actions, failures };
  }
}
