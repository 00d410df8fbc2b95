/** Generated from crds/ by `make generate`. */

/**
 * The two ends of the tunnel.
 */
export interface TunnelSpec {
  /**
   * The node that the tunnel starts from. It cannot be changed.
   */
  nodeName: string;
  /**
   * UDP, or IP protocol 115 (RFC 3931 section 4.1).
   */
  encapsulation?: "UDP" | "IP";
  /**
   * The node's end. Without address and interface, the node's internal address, or the one that it reaches the remote from.
   */
  local?: {
    /**
     * An IPv4 or IPv6 address.
     */
    address?: string;
    /**
     * The IPv6 prefix that the address of a keyed tunnel is of. The node receives what is sent to any address of the prefix, so no interface needs the address. The network has to route the prefix to the node.
     */
    prefix?: string;
    /**
     * Instead of the address, the interface whose address to use. An interface of a VRF, or an address in one, binds the tunnel to the VRF. A link-local remote needs the interface.
     */
    interface?: string;
    /**
     * The UDP port to listen on; 1701 if left out. Any number of tunnels may share it.
     */
    port?: number;
  };
  /**
   * The peer's end.
   */
  remote: {
    /**
     * An IPv4 or IPv6 address.
     */
    address: string;
    /**
     * The peer's UDP port; 1701 if left out.
     */
    port?: number;
  };
  /**
   * Who takes over when the remote is gone or carries nothing: the one with most of the sessions, of several the first; the remote has it again when it is back. A Managed tunnel's.
   *
   * @minItems 1
   * @maxItems 4
   *
   * Items: A peer.
   */
  backup?: {
    /**
     * An IPv4 or IPv6 address.
     */
    address: string;
    /**
     * Its UDP port; 1701 if left out.
     */
    port?: number;
  }[];
  /**
   * Our id of the tunnel; allocated if left out, and shown in the status.
   */
  tunnelId?: number;
  /**
   * The peer's id of the tunnel; not of a Managed one.
   */
  peerTunnelId?: number;
  /**
   * Who moves the frames. Auto takes the kernel where it can.
   */
  datapath?: "Auto" | "Kernel" | "Userspace";
  /**
   * UDP datagrams carry a checksum. With false, the peer must accept datagrams without one, which over IPv6 it does only if configured to (RFC 6935; Linux: udp6_csum_rx off). With false, the node accepts them, too.
   */
  udpChecksum?: boolean;
  /**
   * In userspace: IP frames of sessions without sequence numbers pass by BPF programs in the node's kernel (Linux 6.6), several times as fast, and past its packet filter and its IPsec policies. It makes no UDP checksums. Where a virtual link leads straight to the peer, that has to have the fast path, too.
   */
  fastPath?: boolean;
  /**
   * The DSCP of the tunnel's packets (RFC 2474), 0 to 63; Copy: that of the datagram in each frame, 0 where there is none, in userspace. If left out, 0.
   */
  dscp?: number | string;
  /**
   * A keyed IPv6 tunnel (RFC 8159): its two addresses tell its session from those of other tunnels, so all sessions may have one ID, such as 4294967295. It has one session, with cookies of 8 bytes, and is in userspace.
   */
  keyed?: boolean;
  /**
   * The control connection, where there is one (RFC 3931 section 3.3). With datapath Kernel the kernel moves the frames, and a session's device is made anew whenever the ends agree anew.
   */
  control?: {
    /**
     * Static has none: both ends are configured alike. Quiescent is static, and asks whether the peer lives. Managed lets the ends agree on ids and cookies, and tell of their circuits.
     */
    mode?: "Static" | "Quiescent" | "Managed";
    /**
     * Whether the node opens the connection. It takes the peer's in any case.
     */
    initiate?: boolean;
    /**
     * A LAC asks for its sessions (ICRQ); an LNS waits until the peer asks. Both ends may be LACs.
     */
    role?: "LAC" | "LNS";
    /**
     * The secret that both ends share; messages are then authenticated.
     */
    secretRef?: {
      /**
       * The namespace of the Secret.
       */
      namespace: string;
      /**
       * The name of the Secret.
       */
      name: string;
      /**
       * The key in it.
       */
      key: string;
    };
    /**
     * The secret before, good as well until the peer has the new one (RFC 3931 section 4.3).
     */
    previousSecretRef?: {
      /**
       * The namespace of the Secret.
       */
      namespace: string;
      /**
       * The name of the Secret.
       */
      name: string;
      /**
       * The key in it.
       */
      key: string;
    };
    /**
     * The hash of the authentication.
     */
    digest?: "HMAC-MD5" | "HMAC-SHA1";
    /**
     * Whether cookies, ids and names are hidden from who does not have the secret.
     */
    hideValues?: boolean;
    /**
     * How a silent peer is asked, and when it counts as gone.
     */
    hello?: {
      /**
       * After so much silence a HELLO is sent.
       */
      interval?: string;
      /**
       * After so much silence the peer is gone; if left out, when it has not acknowledged ten times.
       */
      deadAfter?: string;
    };
  };
  /**
   * The namespaces whose sessions may run in the tunnel. If left out, all; or none, if the cluster's administrator has set that.
   */
  allowedNamespaces?: {
    /**
     * All namespaces, none, or those that the selector matches; if left out, Selector where there is one.
     */
    from?: "All" | "None" | "Selector";
    /**
     * Labels that a namespace must have.
     */
    selector?: {
      /**
       * Each label with its value, one at least.
       */
      matchLabels: {
        [k: string]: string;
      };
    };
  };
}

/**
 * What the controller and the node report.
 */
export interface TunnelStatus {
  /**
   * The node that has been given the tunnel.
   */
  nodeName?: string;
  /**
   * The node's internal address of the remote's family; the tunnel's own unless spec.local says otherwise.
   */
  nodeAddress?: string;
  /**
   * The address that the tunnel starts from.
   */
  localAddress?: string;
  /**
   * The address of the peer that carries the frames, the remote or a backup.
   */
  remoteAddress?: string;
  /**
   * Who moves the frames.
   */
  datapath?: "Kernel" | "Userspace";
  /**
   * Our id of the tunnel.
   */
  tunnelId?: number;
  /**
   * Things that the object was accepted with, and keeps; no other object of the node can have them.
   *
   * @maxItems 16
   */
  claims?: string[];
  /**
   * The MTU of the path to the remote now, as far as the node knows it.
   */
  mtu?: number;
  /**
   * The sessions in the tunnel.
   */
  sessions?: {
    /**
     * How many L2tpSessions name the tunnel.
     */
    total?: number;
    /**
     * How many of them are programmed.
     */
    programmed?: number;
    /**
     * How many of them a pod has attached to.
     */
    attached?: number;
  };
  /**
   * The generation that the node's report is about.
   */
  observedGeneration?: number;
  /**
   * Accepted: the object is valid, and nothing else has what it asks for. Programmed: this generation runs on the node. Alive: the peer is there, as far as the control connection knows. Redundant: the remote carries, and all backups are there.
   *
   * @maxItems 8
   *
   * Items: As metav1.Condition.
   */
  conditions?: {
    /**
     * Accepted, Programmed, Alive or Redundant.
     */
    type: string;
    /**
     * Whether it is so.
     */
    status: "True" | "False" | "Unknown";
    /**
     * One word in CamelCase, for programs.
     */
    reason: string;
    /**
     * A sentence that says what to do.
     */
    message: string;
    /**
     * The generation that the node's report is about.
     */
    observedGeneration?: number;
    /**
     * When the status last changed.
     */
    lastTransitionTime: string;
  }[];
}

/**
 * The session's two ids, what its messages look like, and how pods attach.
 */
export interface SessionSpec {
  /**
   * The tunnel that the session runs in.
   */
  tunnelRef: {
    /**
     * The name of an L2tpTunnel.
     */
    name: string;
  };
  /**
   * The session id that we receive on; allocated if left out, and shown in the status.
   */
  sessionId?: number;
  /**
   * The session id that we send, the peer's; not in a Managed tunnel.
   */
  peerSessionId?: number;
  /**
   * The name by which the peer of a Managed tunnel knows the pseudowire; one session of the tunnel has it. If left out, namespace/name, decided when the session is accepted; the status shows it.
   */
  remoteEndId?: string;
  /**
   * The same as remoteEndId, in hexadecimal digits, for peers whose name of the pseudowire is no text.
   */
  remoteEndIdOctets?: string;
  /**
   * What the session carries. Ethernet: frames without their check sequence. EthernetVLAN: frames of one VLAN, with its tag. IP: IPv4 and IPv6 datagrams without an Ethernet header, in userspace and in attachment.mode Direct; the pod's interface has no MAC address.
   */
  pseudowireType?: "Ethernet" | "EthernetVLAN" | "IP";
  /**
   * The VLAN of a session of type EthernetVLAN. Each frame between the ends has its 802.1Q tag; frames of other VLANs, and frames without a tag, are dropped and counted.
   */
  vlan?: {
    /**
     * The VLAN ID at our end; a pod sees it in its frames if pod is Tagged.
     */
    id: number;
    /**
     * The VLAN ID at the peer's end, which the frames that we send have; id if left out. Frames with either ID are received.
     */
    peerId?: number;
    /**
     * Whether frames of the pods have the tag. For Untagged pods it is pushed and popped.
     */
    pod?: "Untagged" | "Tagged";
  };
  /**
   * Whether four bytes stand between cookie and frame (RFC 3931 section 4.6). Both ends must agree.
   */
  l2SpecificSublayer?: "Default" | "None";
  /**
   * What proves that a message belongs to the session. Both ends must agree.
   */
  cookies?: {
    /**
     * A cookie, given here or in a Secret.
     */
    receive?: {
      /**
       * 8 or 16 hexadecimal digits.
       */
      value?: string;
      /**
       * Where the cookie is kept.
       */
      valueFrom?: {
        /**
         * A key of a Secret in the session's namespace; it holds 8 or 16 hexadecimal digits.
         */
        secretKeyRef: {
          /**
           * The name of the Secret.
           */
          name: string;
          /**
           * The key in it.
           */
          key: string;
        };
        /**
         * Put 8 random bytes there where the Secret or the key is missing. In a cluster only.
         */
        generate?: boolean;
      };
    };
    /**
     * A cookie, given here or in a Secret.
     */
    receivePrevious?: {
      /**
       * 8 or 16 hexadecimal digits.
       */
      value?: string;
      /**
       * Where the cookie is kept.
       */
      valueFrom?: {
        /**
         * A key of a Secret in the session's namespace; it holds 8 or 16 hexadecimal digits.
         */
        secretKeyRef: {
          /**
           * The name of the Secret.
           */
          name: string;
          /**
           * The key in it.
           */
          key: string;
        };
        /**
         * Put 8 random bytes there where the Secret or the key is missing. In a cluster only.
         */
        generate?: boolean;
      };
    };
    /**
     * A cookie, given here or in a Secret.
     */
    transmit?: {
      /**
       * 8 or 16 hexadecimal digits.
       */
      value?: string;
      /**
       * Where the cookie is kept.
       */
      valueFrom?: {
        /**
         * A key of a Secret in the session's namespace; it holds 8 or 16 hexadecimal digits.
         */
        secretKeyRef: {
          /**
           * The name of the Secret.
           */
          name: string;
          /**
           * The key in it.
           */
          key: string;
        };
        /**
         * Put 8 random bytes there where the Secret or the key is missing. In a cluster only.
         */
        generate?: boolean;
      };
    };
  };
  /**
   * Sequence numbers in the default sublayer.
   */
  sequencing?: {
    /**
     * Number the frames that we send.
     */
    send?: boolean;
    /**
     * Require numbers and drop late frames.
     */
    receive?: boolean;
    /**
     * How long an early frame waits for the ones before it, such as 50ms.
     */
    reorderTimeout?: string;
  };
  /**
   * The MTU of the pseudowire, in bytes; if left out, it is computed from the path when a pod attaches, and stays while one is attached. What is too large for the path is fragmented. IPv6 needs 1280.
   */
  mtu?: number;
  /**
   * How pods attach.
   */
  attachment?: {
    /**
     * Direct makes the pseudowire itself the interface of one pod; Bridge joins any number of pods.
     */
    mode?: "Direct" | "Bridge";
    /**
     * ADD sends a gratuitous ARP and an unsolicited neighbor advertisement. With false it does not, and the pod's interface has no IPv6 link-local address, so it sends nothing by itself; live migration needs that.
     */
    announce?: boolean;
    /**
     * Refuse drops frames of a pod whose Ethernet source is not the MAC address that its interface was given, on the node's side of the interface. In mode Direct it needs the userspace datapath.
     */
    macSpoofing?: "Allow" | "Refuse";
  };
}

/**
 * What the controller and the node report.
 */
export interface SessionStatus {
  /**
   * The node of the session's tunnel.
   */
  nodeName?: string;
  /**
   * The session id that we receive on, the one that the peer sends.
   */
  sessionId?: number;
  /**
   * The name by which the peer of a Managed tunnel knows the pseudowire. It stays as long as the object.
   */
  remoteEndId?: string;
  /**
   * The name in hexadecimal digits, in place of remoteEndId, where it is no printable text.
   */
  remoteEndIdOctets?: string;
  /**
   * Things that the object was accepted with, and keeps; no other object of the node can have them.
   *
   * @maxItems 16
   */
  claims?: string[];
  /**
   * The pseudowire's device, on the node or in the pod that it is attached to.
   */
  interface?: string;
  /**
   * The MTU of the pseudowire's device. It does not follow the path while a pod is attached.
   */
  mtu?: number;
  /**
   * The pods that have attached.
   *
   * @maxItems 1024
   *
   * Items: A pod's interface.
   */
  attachedTo?: {
    /**
     * The pod, as namespace/name.
     */
    pod: string;
    /**
     * The interface in it.
     */
    interface: string;
  }[];
  /**
   * The generation that the node's report is about.
   */
  observedGeneration?: number;
  /**
   * Accepted: the object is valid, its tunnel takes it, and nothing else has what it asks for. Programmed: this generation runs on the node. Attached: a pod has it. Established: the ends of a Managed tunnel have agreed on it, and the peer's circuit is active.
   *
   * @maxItems 8
   *
   * Items: As metav1.Condition.
   */
  conditions?: {
    /**
     * Accepted, Programmed, Attached or Established.
     */
    type: string;
    /**
     * Whether it is so.
     */
    status: "True" | "False" | "Unknown";
    /**
     * One word in CamelCase, for programs.
     */
    reason: string;
    /**
     * A sentence that says what to do.
     */
    message: string;
    /**
     * The generation that the node's report is about.
     */
    observedGeneration?: number;
    /**
     * When the status last changed.
     */
    lastTransitionTime: string;
  }[];
}
