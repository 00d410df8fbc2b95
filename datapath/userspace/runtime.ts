/** The userspace datapath, as the agent uses it. */
import type { Session } from "../../model/model.ts";
import { describePseudowire } from "../../model/pseudowires/index.ts";
import { formatEndpoint } from "../../net/ip.ts";
import type { Reply } from "../../rpc/errors.ts";
import {
  type Change,
  type Datapath,
  type DumpEntry,
  dumpSettings,
  type Listing,
  type SessionState,
  type TunnelState,
} from "../datapath.ts";
import { sessionOnWire, tunnelIdsOnWire } from "../on-wire.ts";
import { sessionCounters } from "../tunnel-counters.ts";
import type { ProcessView } from "./process-view.ts";
import { USERSPACE } from "./traits.ts";

export class UserspaceDatapath implements Datapath {
  readonly traits = USERSPACE;
  readonly #process: ProcessView;

  constructor(process: ProcessView) {
    this.#process = process;
  }

  async list(): Promise<Listing> {
    return asOwn(await this.#process.list());
  }

  peek(): Promise<Listing> {
    return this.list();
  }

  async find({ key }: Session): Promise<Listing> {
    return asOwn(await this.#process.listSession(key));
  }

  apply(changes: readonly Change[]): Promise<readonly Reply<null>[]> {
    return this.#process.apply(changes);
  }

  dump({ tunnels, sessions }: Listing): readonly DumpEntry[] {
    const own = tunnels.filter(({ tunnel }) => tunnel.datapath === this.traits.name);
    const inTunnels = Map.groupBy(sessions, ({ session }) => session.tunnel);
    return own.flatMap((state) => {
      const inside = inTunnels.get(state.tunnel.name) ?? [];
      return [tunnelRow(state, inside), ...inside.map((session) => sessionRow(state, session))];
    });
  }

  /** The agent owns the process and the connection to it. */
  close(): void {}
}

/** Returns the listing with this datapath's name: a newer agent may have put another name, which has no traits here. */
function asOwn({ tunnels, sessions, ...rest }: Listing): Listing {
  const { name: datapath } = USERSPACE;
  return {
    ...rest,
    tunnels: tunnels.map((state) =>
      state.tunnel.datapath === datapath
        ? state
        : { ...state, tunnel: { ...state.tunnel, datapath } },
    ),
    sessions: sessions.map((state) =>
      state.datapath === datapath ? state : { ...state, datapath },
    ),
  };
}

function tunnelRow(state: TunnelState, sessions: readonly SessionState[]): DumpEntry {
  const { tunnel, control, endpoint } = state;
  const { tunnelId, peerTunnelId } = tunnelIdsOnWire(state);
  // Tunnels on one port share the counters of messages without a session.
  const { rxPackets: _, rxErrors: __, ...drops } = endpoint;
  return {
    datapath: USERSPACE.apiName,
    tunnelId,
    sessionId: null,
    peerId: peerTunnelId,
    type: `L2TPv3 ${tunnel.encapsulation}`,
    endpoints: `${formatEndpoint(tunnel.local)} ${formatEndpoint((control ?? tunnel).remote)}`,
    interface: "",
    owner: `L2tpTunnel ${tunnel.name}`,
    settings: tunnel.udpChecksum ? [] : ["no-checksum"],
    counters: { ...sessionCounters(sessions), ...drops },
  };
}

function sessionRow(tunnel: TunnelState, state: SessionState): DumpEntry {
  const { session, counters } = state;
  const onWire = sessionOnWire(state);
  const { send, receive, reorderTimeoutMs } = (onWire ?? session).sequencing;
  return {
    datapath: USERSPACE.apiName,
    tunnelId: tunnelIdsOnWire(tunnel).tunnelId,
    sessionId: onWire?.sessionId ?? 0,
    peerId: onWire?.peerSessionId ?? 0,
    type: describePseudowire(session),
    endpoints: "",
    interface: "",
    owner: `L2tpSession ${session.key}`,
    settings: dumpSettings(onWire ?? session, send, receive, reorderTimeoutMs),
    counters: { ...counters },
  };
}
