/** The userspace datapath, as the agent has it. */
import type { Session } from "../../model/model.ts";
import { DEFAULT_PSEUDOWIRE } from "../../model/pseudowires/index.ts";
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
    return own.flatMap((state) => [
      tunnelRow(state),
      ...sessions
        .filter(({ session }) => session.tunnel === state.tunnel.name)
        .map((session) => sessionRow(state, session)),
    ]);
  }

  /** The process, and the connection to it, are not its own. */
  close(): void {}
}

/** The same by this datapath's name: a newer agent may have put another, of which there are no traits here. */
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

function tunnelRow({ tunnel, control, endpoint }: TunnelState): DumpEntry {
  return {
    datapath: USERSPACE.apiName,
    tunnelId: tunnel.tunnelId,
    sessionId: null,
    peerId: tunnel.peerTunnelId,
    type: `L2TPv3 ${tunnel.encapsulation}`,
    endpoints: `${formatEndpoint(tunnel.local)} ${formatEndpoint((control ?? tunnel).remote)}`,
    interface: "",
    owner: `L2tpTunnel ${tunnel.name}`,
    settings: tunnel.udpChecksum ? [] : ["no-checksum"],
    counters: { ...endpoint },
  };
}

function sessionRow({ tunnel }: TunnelState, { session, counters }: SessionState): DumpEntry {
  const { send, receive, reorderTimeoutMs } = session.sequencing;
  return {
    datapath: USERSPACE.apiName,
    tunnelId: tunnel.tunnelId,
    sessionId: session.sessionId,
    peerId: session.peerSessionId,
    type: session.pseudowireType ?? DEFAULT_PSEUDOWIRE.name,
    endpoints: "",
    interface: "",
    owner: `L2tpSession ${session.key}`,
    settings: dumpSettings(session, send, receive, reorderTimeoutMs),
    counters: { ...counters },
  };
}
