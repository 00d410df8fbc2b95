/** A tunnel with control connections to its remotes, one of which is active and forwards its frames. */
import { fromHex } from "../../../l2tp/control/octets.ts";
import type { PeeringConfig } from "../../../l2tp/control/peering.ts";
import { sameData } from "../../../l2tp/same-data.ts";
import type { Endpoint, Tunnel, TunnelControl } from "../../../model/model.ts";
import { LocalEndpoint } from "../packet/session.ts";

export type Controlled = Tunnel & { readonly control: TunnelControl };

/** True if the tunnel has a control connection. */
export function hasControl(tunnel: Tunnel): tunnel is Controlled {
  return tunnel.control !== undefined;
}

const RECEIVE_WINDOW = 8;
/** The time in which a connection or session must be established. */
const SETUP_MS = 30_000;
const MAX_HOLD_MS = 60_000;
const RETRY = { firstMs: 1000, capMs: 30_000 };

export class ManagedTunnel {
  /** The tunnel as the agent has put it. */
  readonly config: Controlled;
  /** The peering with each remote, in order of preference. */
  readonly peerings: readonly PeeringConfig[];
  /** The index of the active remote's peering. */
  active: number;
  /** True if the active remote has agreed to propagate congestion marks. */
  usesEcn: boolean;

  /**
   * @param pseudowireTypes numbers of the types that its frames' datapath supports
   * @param before the old tunnel of that name, whose active remote is kept
   */
  constructor(config: Controlled, pseudowireTypes: readonly number[], before?: ManagedTunnel) {
    this.config = config;
    const remotes = [config.remote, ...config.control.backups];
    this.peerings = remotes.map((remote) => peeringConfig(config, pseudowireTypes, remote));
    const remote = before?.remote;
    this.usesEcn = before?.usesEcn ?? false;
    this.active = Math.max(
      0,
      remotes.findIndex((each) => sameData(each, remote)),
    );
  }

  /** The name of the active remote's peering. */
  get activeName(): string {
    return this.#activePeering.name;
  }

  get remote(): Endpoint {
    return this.#activePeering.remote;
  }

  /** The hold time: milliseconds that a better remote must be up before failback. */
  get holdMs(): number {
    const { deadAfterMs, helloMs } = this.config.control;
    return Math.min(MAX_HOLD_MS, deadAfterMs ?? 3 * helloMs);
  }

  /** The tunnel for the packet path, with the active remote. */
  get carried(): Tunnel {
    const { ecn, ...config } = this.config;
    const agreed = config.control.mode === "Managed" ? this.usesEcn : true;
    return { ...config, ...(ecn && agreed ? { ecn } : {}), remote: this.remote };
  }

  get #activePeering(): PeeringConfig {
    return this.peerings[this.active] as PeeringConfig;
  }
}

function peeringConfig(
  { control, ...tunnel }: Controlled,
  pseudowireTypes: readonly number[],
  remote: Endpoint,
): PeeringConfig {
  const { retransmitMs, retransmitCapMs, maxRetransmits } = control;
  return {
    // Tunnel names have no spaces.
    name: `${tunnel.name} ${remote.address} ${remote.port}`,
    mode: control.mode,
    local: LocalEndpoint.keyOf(tunnel),
    remote,
    initiates: control.initiates,
    connection: {
      hostName: control.hostName,
      routerId: control.routerId,
      pseudowireTypes,
      propagatesEcn: tunnel.ecn === true,
      secrets: control.secrets.map(fromHex),
      digest: control.digest,
      hidesValues: control.hidesValues,
      delivery: { receiveWindow: RECEIVE_WINDOW, retransmitMs, retransmitCapMs, maxRetransmits },
      helloMs: control.helloMs,
      deadAfterMs: control.deadAfterMs ?? Number.POSITIVE_INFINITY,
      setupMs: SETUP_MS,
    },
    retry: RETRY,
    tunnelId: tunnel.tunnelId,
    peerTunnelId: tunnel.peerTunnelId,
  };
}
