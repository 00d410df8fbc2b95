/**
 * Sets tc filters that rewrite VLAN tags on kernel devices, by the rules of the pseudowire type
 * (`KernelPseudowire.tagRules`). The kernel deletes filters when a device moves to another namespace, so they are set
 * in the device's present namespace, which can be a pod's. Each pass restores missing filters.
 */
import { createHash } from "node:crypto";
import type { Listing } from "../../datapath/datapath.ts";
import { failureCode } from "../../datapath/failure.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { isErrno } from "../../linux/errno.ts";
import { findLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import {
  type Direction,
  FILTER_COOKIE_BYTES,
  listTagFilters,
  setTagFilters,
  type TagFilter,
} from "../../linux/netlink/tag-filter.ts";
import type { Attachment } from "../../model/attachments/index.ts";
import type { Session, SessionCounters } from "../../model/model.ts";
import { type TagRule, type TagRules, tagRulesOf } from "../../model/pseudowires/index.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import type { Failure } from "../resolve/status.ts";

export interface DeviceTags {
  /** The key of the session. */
  readonly session: string;
  readonly rules: TagRules;
  /** The session's settings behind the rules, which the kernel does not know. */
  readonly settings: Pick<Session, "vlan">;
  /** The pod's namespace; null: the node's. */
  readonly netns: string | null;
  /** The device's index in its namespace, or its name on the node. */
  readonly device: number | string;
  /** The name of the device on the node that received frames are redirected to; absent: not redirected. */
  readonly redirectTo?: string;
}

/** Returns the devices with tag rules. @param deviceName returns the name of a session's device on the node */
export function deviceTags(
  sessions: Iterable<ResolvedSession>,
  attachmentsOf: (session: string) => readonly Attachment[],
  deviceName: (resolved: ResolvedSession) => string,
): DeviceTags[] {
  return Array.from(sessions).flatMap((resolved) => {
    const { session, tunnel } = resolved;
    const rules = tagRulesOf(session);
    if (rules === null || !traitsOf(tunnel.datapath).makesDevices) return [];
    const { key, vlan } = session;
    const settings = vlan === undefined ? {} : { vlan };
    const inPod = attachmentsOf(key).find(({ device }) => device?.kind === "pseudowire");
    return [
      inPod?.device
        ? { session: key, rules, settings, netns: inPod.netns, device: inPod.device.index }
        : { session: key, rules, settings, netns: null, device: deviceName(resolved) },
    ];
  });
}

const DIRECTIONS = [
  ["ingress", "fromWire"],
  ["egress", "toWire"],
] as const satisfies readonly (readonly [Direction, keyof TagRules])[];

/** Sets the filters of the devices. Returns the failures by "session KEY". */
export function applyTags(
  socket: NetlinkSocket,
  devices: readonly DeviceTags[],
): ReadonlyMap<string, Failure> {
  const failures = new Map<string, Failure>();
  for (const one of devices) {
    try {
      const target = redirectTarget(socket, one);
      onDevice(socket, one, (at, index) => {
        for (const [direction, side] of DIRECTIONS) {
          const redirectTo = direction === "ingress" ? target : undefined;
          const filters = one.rules[side].map((rule) => filterOf(rule, redirectTo));
          setTagFilters(at, index, direction, filters);
        }
      });
    } catch (error) {
      failures.set(`session ${one.session}`, describe(error, one));
    }
  }
  return failures;
}

function describe(error: unknown, { redirectTo }: DeviceTags): Failure {
  const { message } = error as Error;
  const isMissing = isErrno(error, "ENOENT", "EOPNOTSUPP");
  const [field, module] =
    redirectTo === undefined
      ? ["spec.vlan", "act_vlan"]
      : ["spec.attachment.switchTo", "act_mirred"];
  const remedy = isMissing
    ? `; load the modules sch_ingress, cls_flower, act_gact and ${module} on the node, or set the tunnel's spec.datapath: Userspace`
    : "";
  return {
    code: failureCode(error),
    message: `${field}: cannot set tc filters on the device: ${message}${remedy}`,
  };
}

/** Returns the index of the device that frames are redirected to; undefined: none, or the plan recreates the device. */
function redirectTarget(node: NetlinkSocket, { redirectTo }: DeviceTags): number | undefined {
  return redirectTo === undefined ? undefined : findLink(node, redirectTo)?.index;
}

/** Runs `work` on the device. Does nothing if the device is missing: the plan recreates it. */
function onDevice(
  node: NetlinkSocket,
  { netns, device }: DeviceTags,
  work: (socket: NetlinkSocket, index: number) => void,
): void {
  if (netns === null) {
    const index = typeof device === "number" ? device : findLink(node, device)?.index;
    if (index !== undefined) work(node, index);
    return;
  }
  if (typeof device !== "number") return;
  const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  try {
    work(socket, device);
  } finally {
    socket.close();
  }
}

function filterOf(rule: TagRule, redirectTo: number | undefined): TagFilter {
  const { counter: _, ...rewrite } = rule;
  const filter = redirectTo === undefined ? rewrite : { ...rewrite, redirectTo };
  const digest = createHash("sha256").update(JSON.stringify(filter)).digest();
  return { ...filter, cookie: digest.subarray(0, FILTER_COOKIE_BYTES) };
}

/** Returns the listing with the settings of the rules, and with tc's counters added to the sessions' counters. */
export function withTagCounts(
  listing: Listing,
  socket: NetlinkSocket,
  devices: readonly DeviceTags[],
): Listing {
  if (devices.length === 0) return listing;
  const bySession = new Map(devices.map((one) => [one.session, one]));
  const sessions = listing.sessions.map((state) => {
    const device = bySession.get(state.session.key);
    if (device === undefined) return state;
    const counters = sum(state.counters, countsOf(socket, device));
    return { ...state, session: { ...state.session, ...device.settings }, counters };
  });
  return { ...listing, sessions };
}

type Counts = Partial<Record<keyof SessionCounters, number>>;

function sum(counters: SessionCounters, counted: Counts): SessionCounters {
  const summed = { ...counters };
  for (const [name, count] of Object.entries(counted)) {
    summed[name as keyof SessionCounters] += count;
  }
  return summed;
}

/** Returns numbers of frames by counter. Dropped frames also count as errors. */
function countsOf(socket: NetlinkSocket, device: DeviceTags): Counts {
  const counts: Counts = {};
  const add = (name: keyof SessionCounters, count: number) => {
    counts[name] = (counts[name] ?? 0) + count;
  };
  try {
    onDevice(socket, device, (at, index) => {
      for (const [direction, side] of DIRECTIONS) {
        for (const { place, packets } of listTagFilters(at, index, direction)) {
          const rule = device.rules[side][place];
          if (rule?.counter !== undefined) add(rule.counter, packets);
          if (rule?.action.do !== "drop") continue;
          add(direction === "ingress" ? "rxErrors" : "txErrors", packets);
        }
      }
    });
  } catch (error) {
    // The pod or its device was deleted meanwhile.
    if (!isErrno(error, "ENODEV", "ENOENT", "EINVAL")) throw error;
  }
  return counts;
}
