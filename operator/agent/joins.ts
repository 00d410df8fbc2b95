/**
 * Node interfaces that are joined to devices of sessions: tc redirects all received frames of each to the other. Both
 * filters remain while the agent is stopped. The cookie of a filter records the changes to its interface, so that an
 * agent without the session can revert them.
 */
import { createHash } from "node:crypto";
import { failureCode } from "../../datapath/failure.ts";
import { isErrno } from "../../linux/errno.ts";
import { findLink, getLink } from "../../linux/netlink/link.ts";
import { setPromiscuous } from "../../linux/netlink/promiscuity.ts";
import {
  deleteRedirection,
  findRedirection,
  REDIRECTION_COOKIE_BYTES,
  type Redirection,
  setRedirection,
} from "../../linux/netlink/redirect.ts";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import { listIngressDrops } from "../../linux/netlink/traffic-control.ts";
import type { Failure } from "../resolve/status.ts";
import type { HolderOf } from "./node-interfaces.ts";

/** A session's device and the interface that it is joined to. */
export interface Join {
  /** The key of the session. */
  readonly session: string;
  readonly interface: string;
  /** The index of the interface. */
  readonly index: number;
  /** The name of the session's device on the node. */
  readonly device: string;
}

/** The cookie: "l2tp", a byte of marks, and the start of a digest of the session's key. */
const MAGIC = Buffer.from("l2tp");
const MARKS_AT = MAGIC.length;
const DIGEST_AT = MARKS_AT + 1;
const MARK = {
  /** Set on the interface, not on the session's device. */
  isInterface: 0x01,
  madePromiscuous: 0x02,
  madeClsact: 0x04,
} as const;

export class Joins {
  readonly #socket: NetlinkSocket;
  /** Indexes of links with our filters; null: unknown, because an earlier agent may have left filters. */
  #known: Set<number> | null = null;

  constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** Returns the session that the link is joined to, if it is one of `sessions`. */
  readonly holderOf: HolderOf = (index, sessions) => {
    const found = this.#find(index);
    return found && sessions.find((key) => isOf(found.cookie, key));
  };

  /**
   * Creates the joins, and removes all others.
   * @param spares keys of sessions that are retained because their manifest is unreadable
   * @returns failures by "session KEY"
   */
  settle(joins: readonly Join[], spares: Iterable<string>): ReadonlyMap<string, Failure> {
    const failures = new Map<string, Failure>();
    const socket = this.#socket;
    const kept = [...spares];
    const known = this.#known ?? new Set(listIngressDrops(socket).keys());
    const wanted = new Set<number>();
    for (const join of joins) {
      try {
        const device = findLink(socket, join.device)?.index;
        wanted.add(join.index);
        if (device === undefined) continue;
        wanted.add(device);
        const marks = this.#joinInterface(join, device);
        this.#redirect(device, { target: join.index, cookie: cookieOf(join.session, marks) });
      } catch (error) {
        failures.set(`session ${join.session}`, describe(join, error));
      }
    }
    this.#known = new Set(wanted);
    for (const index of known) {
      if (wanted.has(index) || !this.#release(index, kept)) continue;
      this.#known.add(index);
    }
    return failures;
  }

  /** The interface becomes promiscuous, because frames are for the hosts behind the pseudowire. Returns the marks. */
  #joinInterface({ session, index }: Join, device: number): number {
    const socket = this.#socket;
    const before = this.#marksOf(index, device);
    const hasClsact = listIngressDrops(socket).has(index);
    const isPromiscuous = getLink(socket, index)?.isPromiscuous === true;
    const marks =
      before |
      MARK.isInterface |
      (hasClsact ? 0 : MARK.madeClsact) |
      (isPromiscuous ? 0 : MARK.madePromiscuous);
    this.#redirect(index, { target: device, cookie: cookieOf(session, marks) });
    // The cookie records the change before the change is made, so that a crash between them is reverted, too.
    if (!isPromiscuous) setPromiscuous(socket, index, true);
    return marks & ~MARK.isInterface;
  }

  /** The device has a copy of the interface's marks, in case the filter of the interface was deleted. */
  #marksOf(index: number, device: number): number {
    const back = this.#find(device);
    const copied = back?.target === index ? marksOf(back.cookie) : 0;
    return marksOf(this.#find(index)?.cookie) | copied;
  }

  #redirect(index: number, wanted: Redirection): void {
    const found = findRedirection(this.#socket, index);
    if (found?.target === wanted.target && Buffer.compare(found.cookie, wanted.cookie) === 0)
      return;
    setRedirection(this.#socket, index, wanted);
  }

  /** Returns our redirection of the link, if any. */
  #find(index: number): Redirection | undefined {
    const found = findRedirection(this.#socket, index);
    return found !== undefined && isOurs(found.cookie) ? found : undefined;
  }

  /** @returns true if the next reconcile must check the link again */
  #release(index: number, spares: readonly string[]): boolean {
    try {
      const found = this.#find(index);
      if (found === undefined) return false;
      if (spares.some((key) => isOf(found.cookie, key))) return true;
      const marks = marksOf(found.cookie);
      const has = (mark: number) => (marks & MARK.isInterface) !== 0 && (marks & mark) !== 0;
      if (has(MARK.madePromiscuous)) setPromiscuous(this.#socket, index, false);
      deleteRedirection(this.#socket, index, has(MARK.madeClsact));
      return false;
    } catch (error) {
      // ENODEV: the link was deleted, and its filters with it.
      return !isErrno(error, "ENODEV");
    }
  }
}

const isOurs = (cookie: Buffer): boolean =>
  cookie.length === REDIRECTION_COOKIE_BYTES && cookie.subarray(0, MARKS_AT).equals(MAGIC);

const marksOf = (cookie: Buffer | undefined): number =>
  cookie !== undefined && isOurs(cookie) ? cookie.readUInt8(MARKS_AT) : 0;

const isOf = (cookie: Buffer, session: string): boolean =>
  isOurs(cookie) && cookie.subarray(DIGEST_AT).equals(cookieOf(session, 0).subarray(DIGEST_AT));

function cookieOf(session: string, marks: number): Buffer {
  const digest = createHash("sha256").update(session).digest();
  return Buffer.concat([MAGIC, Buffer.from([marks]), digest], REDIRECTION_COOKIE_BYTES);
}

function describe(join: Join, error: unknown): Failure {
  const { message } = error as Error;
  const isMissing = isErrno(error, "ENOENT", "EOPNOTSUPP");
  const remedy = isMissing
    ? "; load the modules sch_ingress, cls_bpf and act_mirred on the node"
    : "";
  return {
    code: failureCode(error),
    message: `spec.attachment.interface: "${join.interface}": cannot join the interface to ${join.device}: ${message}${remedy}`,
  };
}
