/** Generated from crds/ by `make generate`. */

/**
 * The node, the peer and the encapsulation of the tunnel.
 */
export interface TunnelSpec {
  /**
   * The node that terminates the tunnel. Immutable.
   */
  nodeName: string;
  /**
   * UDP, or IP protocol 115 (RFC 3931 section 4.1).
   */
  encapsulation?: "UDP" | "IP";
  /**
   * The local endpoint. Without address and interface, the tunnel uses the node's internal address, or the source address of the route to the remote.
   */
  local?: {
    /**
     * An IPv4 or IPv6 address.
     */
    address?: string;
    /**
     * The IPv6 prefix that contains the address of a keyed tunnel. The node receives packets to all addresses of the prefix without interface addresses. The network must route the prefix to the node.
     */
    prefix?: string;
    /**
     * The interface whose address the tunnel uses, instead of address. An interface or address of a VRF binds the tunnel to the VRF. Required for a link-local remote.
     */
    interface?: string;
    /**
     * The local UDP port; default 1701. Tunnels in userspace can share a port.
     */
    port?: number;
  };
  /**
   * The remote endpoint.
   */
  remote: {
    /**
     * An IPv4 or IPv6 address.
     */
    address: string;
    /**
     * The peer's UDP port; default 1701.
     */
    port?: number;
  };
  /**
   * Peers to fail over to if the remote is down or has no active circuits. The backup with the most active circuits becomes active; ties are resolved by list order. Frames fail back to an earlier remote after it has recovered. Managed mode only.
   *
   * @minItems 1
   * @maxItems 4
   *
   * Items: A backup peer.
   */
  backup?: {
    /**
     * An IPv4 or IPv6 address.
     */
    address: string;
    /**
     * The backup's UDP port; default 1701.
     */
    port?: number;
  }[];
  /**
   * The tunnel ID of the node. If omitted, it is allocated and shown in the status.
   */
  tunnelId?: number;
  /**
   * The tunnel ID of the peer. Required, except in Managed mode, which negotiates it.
   */
  peerTunnelId?: number;
  /**
   * The datapath that forwards frames. Auto prefers the kernel, if it supports the tunnel.
   */
  datapath?: "Auto" | "Kernel" | "Userspace";
  /**
   * True if UDP datagrams have a checksum. With false, the node sends and accepts datagrams without a checksum, and the peer must accept them. Over IPv6 a peer does so only if configured (RFC 6935; Linux: udp6_csum_rx off).
   */
  udpChecksum?: boolean;
  /**
   * True if BPF programs in the node's kernel (Linux 6.6) forward the IP frames of sessions without sequence numbers. Userspace datapath only. Throughput is several times as high. The frames bypass netfilter and IPsec policies, and have no UDP checksum. If a virtual link connects the node directly to the peer, the peer must use the fast path, too.
   */
  fastPath?: boolean;
  /**
   * The DSCP of the tunnel's packets (RFC 2474): a number from 0 to 63, or Copy. Copy uses the DSCP of the datagram in each frame, or 0 without a datagram, and requires the userspace datapath. The default is 0.
   */
  dscp?: number | "Copy";
  /**
   * True if the tunnel propagates congestion marks (ECN, RFC 6040): packets have the ECN of the datagram in each frame, and a mark on a received packet is passed on to the datagram. The peer must do the same; in a Managed tunnel, the tunnel does so only if the peer agrees (RFC 9601). Userspace datapath only.
   */
  ecn?: boolean;
  /**
   * True if the pair of addresses identifies the tunnel's session (RFC 8159). Sessions of keyed tunnels can have the same ID, such as 4294967295. A keyed tunnel has one session, with 8-byte cookies, and requires the userspace datapath.
   */
  keyed?: boolean;
  /**
   * The control connection (RFC 3931 section 3.3). With datapath Kernel, the session device is recreated on each renegotiation.
   */
  control?: {
    /**
     * Static: no control connection; both ends are configured to match. Quiescent: static, with HELLO messages that detect a dead peer. Managed: the ends negotiate IDs and cookies, and signal circuit status.
     */
    mode?: "Static" | "Quiescent" | "Managed";
    /**
     * True if the node initiates the control connection. The node always accepts the peer's.
     */
    initiate?: boolean;
    /**
     * A LAC requests its sessions (ICRQ). An LNS waits for the peer's requests. Both ends can be LACs.
     */
    role?: "LAC" | "LNS";
    /**
     * The shared secret, which authenticates control messages.
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
       * The key in the Secret.
       */
      key: string;
    };
    /**
     * The previous shared secret, which the node also accepts until the peer has the new one (RFC 3931 section 4.3).
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
       * The key in the Secret.
       */
      key: string;
    };
    /**
     * The message digest algorithm.
     */
    digest?: "HMAC-MD5" | "HMAC-SHA1";
    /**
     * True if cookies, IDs and names are encrypted with the shared secret (RFC 3931 AVP hiding).
     */
    hideValues?: boolean;
    /**
     * Detection of a dead peer.
     */
    hello?: {
      /**
       * Silence after which the node sends a HELLO, such as 10s.
       */
      interval?: string;
      /**
       * Silence after which the peer is considered down, such as 30s. If omitted, ten unacknowledged retransmissions.
       */
      deadAfter?: string;
    };
  };
  /**
   * Node interfaces that sessions can use in attachment.mode Interface: names, or patterns in which * matches any characters. The default is none. An interface that the node's tunnels send packets through cannot be joined.
   *
   * @maxItems 64
   */
  allowedInterfaces?: string[];
  /**
   * Namespaces whose sessions may use the tunnel. The default is All, or None if controller.defaultAllowedNamespaces is None.
   */
  allowedNamespaces?: {
    /**
     * All namespaces, none, or those that the selector matches. With a selector, the default is Selector.
     */
    from?: "All" | "None" | "Selector";
    /**
     * Labels that a namespace must have.
     */
    selector?: {
      /**
       * Labels to match, at least one.
       */
      matchLabels: {
        [k: string]: string;
      };
    };
  };
}

/**
 * The state that the controller and the node report.
 */
export interface TunnelStatus {
  /**
   * The node that the tunnel is assigned to.
   */
  nodeName?: string;
  /**
   * The node's internal address of the remote's address family. It is the default of the local address.
   */
  nodeAddress?: string;
  /**
   * The local address of the tunnel.
   */
  localAddress?: string;
  /**
   * The address of the active remote, which is the remote or a backup.
   */
  remoteAddress?: string;
  /**
   * The datapath that forwards frames.
   */
  datapath?: "Kernel" | "Userspace";
  /**
   * The tunnel ID of the node.
   */
  tunnelId?: number;
  /**
   * IDs and endpoints that the object was accepted with and keeps. No other object of the node can claim them.
   *
   * @maxItems 16
   */
  claims?: string[];
  /**
   * The MTU of the path to the remote that the node knows now, in bytes.
   */
  mtu?: number;
  /**
   * The sessions in the tunnel.
   */
  sessions?: {
    /**
     * The number of L2tpSessions that name the tunnel.
     */
    total?: number;
    /**
     * The number of programmed sessions.
     */
    programmed?: number;
    /**
     * The number of sessions with an attached pod.
     */
    attached?: number;
  };
  /**
   * The generation that the node's report describes.
   */
  observedGeneration?: number;
  /**
   * Accepted: the object is valid and conflicts with no other object. Programmed: the node has applied this generation. Alive: the control connection is established. Redundant: the remote is active, and every backup is established.
   *
   * @maxItems 8
   *
   * Items: A metav1.Condition.
   */
  conditions?: {
    /**
     * Accepted, Programmed, Alive or Redundant.
     */
    type: string;
    /**
     * The status of the condition.
     */
    status: "True" | "False" | "Unknown";
    /**
     * The reason in CamelCase, for programs.
     */
    reason: string;
    /**
     * The details, and what to do.
     */
    message: string;
    /**
     * The generation that the node's report describes.
     */
    observedGeneration?: number;
    /**
     * The time of the last change of the status.
     */
    lastTransitionTime: string;
  }[];
}

/**
 * The tunnel, the IDs, the format of data messages, and the attachment of pods.
 */
export interface SessionSpec {
  /**
   * The tunnel of the session.
   */
  tunnelRef: {
    /**
     * The name of an L2tpTunnel.
     */
    name: string;
  };
  /**
   * The session ID in received data messages. If omitted, it is allocated and shown in the status.
   */
  sessionId?: number;
  /**
   * The session ID in sent data messages, which is the peer's. Required, except in a Managed tunnel, which negotiates it.
   */
  peerSessionId?: number;
  /**
   * The name of the pseudowire in a Managed tunnel, which is the same at both ends and unique in the tunnel (Remote End ID AVP). The default is namespace/name when the session is accepted; the status shows it.
   */
  remoteEndId?: string;
  /**
   * The value of remoteEndId in hexadecimal digits, for a name that is not printable text.
   */
  remoteEndIdOctets?: string;
  /**
   * The type of the forwarded frames. Ethernet: frames without frame check sequence. EthernetVLAN: frames of one VLAN, with its tag. IP: IPv4 and IPv6 datagrams without an Ethernet header; requires the userspace datapath and attachment.mode Direct, and the pod's interface has no MAC address.
   */
  pseudowireType?: "Ethernet" | "EthernetVLAN" | "IP";
  /**
   * The VLAN of an EthernetVLAN session. Frames between the ends have its 802.1Q tag. Frames of other VLANs, and untagged frames, are dropped and counted.
   */
  vlan?: {
    /**
     * The VLAN ID at the node. Pods see it if pod is Tagged.
     */
    id: number;
    /**
     * The VLAN ID at the peer, which is in sent frames; default id. Frames with either ID are received.
     */
    peerId?: number;
    /**
     * Tagged if frames of the pods have the tag. With Untagged, the node adds and removes it.
     */
    pod?: "Untagged" | "Tagged";
  };
  /**
   * The L2-Specific Sublayer, which is four bytes between cookie and frame (RFC 3931 section 4.6). Both ends must use the same.
   */
  l2SpecificSublayer?: "Default" | "None";
  /**
   * Values that the receiver checks in every data message. The receive cookie is the peer's transmit cookie.
   */
  cookies?: {
    /**
     * A cookie, set as value or read from a Secret.
     */
    receive?: {
      /**
       * 8 or 16 hexadecimal digits.
       */
      value?: string;
      /**
       * The source of the cookie.
       */
      valueFrom?: {
        /**
         * A key of a Secret in the session's namespace that holds 8 or 16 hexadecimal digits.
         */
        secretKeyRef: {
          /**
           * The name of the Secret.
           */
          name: string;
          /**
           * The key in the Secret.
           */
          key: string;
        };
        /**
         * True if the controller generates a missing Secret or key with 8 random bytes. Kubernetes only.
         */
        generate?: boolean;
      };
    };
    /**
     * A cookie, set as value or read from a Secret.
     */
    receivePrevious?: {
      /**
       * 8 or 16 hexadecimal digits.
       */
      value?: string;
      /**
       * The source of the cookie.
       */
      valueFrom?: {
        /**
         * A key of a Secret in the session's namespace that holds 8 or 16 hexadecimal digits.
         */
        secretKeyRef: {
          /**
           * The name of the Secret.
           */
          name: string;
          /**
           * The key in the Secret.
           */
          key: string;
        };
        /**
         * True if the controller generates a missing Secret or key with 8 random bytes. Kubernetes only.
         */
        generate?: boolean;
      };
    };
    /**
     * A cookie, set as value or read from a Secret.
     */
    transmit?: {
      /**
       * 8 or 16 hexadecimal digits.
       */
      value?: string;
      /**
       * The source of the cookie.
       */
      valueFrom?: {
        /**
         * A key of a Secret in the session's namespace that holds 8 or 16 hexadecimal digits.
         */
        secretKeyRef: {
          /**
           * The name of the Secret.
           */
          name: string;
          /**
           * The key in the Secret.
           */
          key: string;
        };
        /**
         * True if the controller generates a missing Secret or key with 8 random bytes. Kubernetes only.
         */
        generate?: boolean;
      };
    };
  };
  /**
   * Sequence numbers in the L2-Specific Sublayer.
   */
  sequencing?: {
    /**
     * True if sent frames have sequence numbers.
     */
    send?: boolean;
    /**
     * True if received frames must have sequence numbers. Late frames are dropped.
     */
    receive?: boolean;
    /**
     * Maximum time to hold an out-of-order frame, such as 50ms.
     */
    reorderTimeout?: string;
  };
  /**
   * The MTU of the pseudowire, in bytes. If omitted, it is computed from the path when a pod attaches, and does not change while a pod is attached. Datagrams that are too large for the path are fragmented. IPv6 requires 1280.
   */
  mtu?: number;
  /**
   * The attachment of pods.
   */
  attachment?: {
    /**
     * Direct: the pseudowire is the interface of one pod. Bridge: a bridge connects any number of pods. Interface: the pseudowire is connected to an interface of the node. Switch: frames are forwarded to another pseudowire of the node.
     */
    mode?: "Direct" | "Bridge" | "Interface" | "Switch";
    /**
     * The node interface that mode Interface joins the pseudowire to, such as eth1 or eth1.100. If it is a bridge, the pseudowire becomes a port of it. With create, this is the name of the pseudowire's own device. The tunnel must allow the interface (spec.allowedInterfaces).
     */
    interface?: string;
    /**
     * True if mode Interface creates the pseudowire's device as a node interface with the name and the addresses. No other interface can have the name.
     */
    create?: boolean;
    /**
     * Addresses of the created interface, with prefix lengths. The agent does not remove other addresses from the interface.
     *
     * @maxItems 16
     */
    addresses?: string[];
    /**
     * The session that mode Switch forwards frames to. Its switchTo must name this session.
     */
    switchTo?: {
      /**
       * The namespace of the session. The default is the namespace of this object.
       */
      namespace?: string;
      /**
       * The name of the session.
       */
      name: string;
    };
    /**
     * Other namespaces whose sessions can name this session in switchTo.
     *
     * @maxItems 64
     */
    allowSwitchFrom?: string[];
    /**
     * True if ADD sends a gratuitous ARP and an unsolicited neighbor advertisement. With false it sends neither, and the pod's interface has no IPv6 link-local address, so the interface sends nothing by itself, as live migration requires.
     */
    announce?: boolean;
    /**
     * With Refuse, the node drops frames of a pod whose Ethernet source is not the MAC address of its interface at ADD. In mode Direct this requires the userspace datapath.
     */
    macSpoofing?: "Allow" | "Refuse";
  };
}

/**
 * The state that the controller and the node report.
 */
export interface SessionStatus {
  /**
   * The node of the session's tunnel.
   */
  nodeName?: string;
  /**
   * The session ID in received data messages.
   */
  sessionId?: number;
  /**
   * The Remote End ID of the pseudowire in a Managed tunnel. It does not change while the object exists.
   */
  remoteEndId?: string;
  /**
   * The Remote End ID in hexadecimal digits, instead of remoteEndId, if it is not printable text.
   */
  remoteEndIdOctets?: string;
  /**
   * IDs and circuits that the object was accepted with and keeps. No other object of the node can claim them.
   *
   * @maxItems 16
   */
  claims?: string[];
  /**
   * The device of the pseudowire, on the node or in the attached pod.
   */
  interface?: string;
  /**
   * The MTU of the pseudowire's device, in bytes. It does not change with the path while a pod is attached.
   */
  mtu?: number;
  /**
   * The attached pods.
   *
   * @maxItems 1024
   *
   * Items: An interface of a pod.
   */
  attachedTo?: {
    /**
     * The pod, as namespace/name.
     */
    pod: string;
    /**
     * The interface in the pod.
     */
    interface: string;
  }[];
  /**
   * The generation that the node's report describes.
   */
  observedGeneration?: number;
  /**
   * Accepted: the object is valid, its tunnel allows it, and it conflicts with no other object. Programmed: the node has applied this generation. Attached: a pod uses the session. Established: the session of a Managed tunnel is negotiated, and the peer's circuit is active.
   *
   * @maxItems 8
   *
   * Items: A metav1.Condition.
   */
  conditions?: {
    /**
     * Accepted, Programmed, Attached or Established.
     */
    type: string;
    /**
     * The status of the condition.
     */
    status: "True" | "False" | "Unknown";
    /**
     * The reason in CamelCase, for programs.
     */
    reason: string;
    /**
     * The details, and what to do.
     */
    message: string;
    /**
     * The generation that the node's report describes.
     */
    observedGeneration?: number;
    /**
     * The time of the last change of the status.
     */
    lastTransitionTime: string;
  }[];
}
