;; Joins the next segments to a pending frame. Coalescer (coalesce.ts) prepares the state, an array of i32:
;;
;;    0 address of the first frame                4 bytes of its headers
;;    8 address of the mask: the bits of the headers, and of the prefix in front, that all frames share
;;   12 offset of the IP header in the frame     16 1: it is IPv4
;;   20 offset of the TCP or UDP header          24 1: it is TCP
;;   28 sum of the shared words of the IPv4 header
;;   32 sum of the shared words of the pseudo-header and the TCP or UDP header
;;   36 end of the pending frame                 40 limit of its growth
;;   44 payload bytes of a segment               48 payload bytes of all segments
;;   52 the next IPv4 identification             56 the next sequence number
;;   60 number of joined frames                  64 maximum number of frames
;;   68 1: more frames may join                  72 not 0: the last frame had PSH
;;   76 1: the first frame's checksums were verified, and the sums computed
;;   80 address of a buffer for a frame's headers

;; Returns 1 if prefix and headers equal the first frame's, apart from the masked bits.
(func $isSame (param $state i32) (param $prefix i32) (param $frame i32) (result i32)
  (local $at i32) (local $first i32) (local $mask i32) (local $end i32)
  (local.set $at (i32.sub (i32.const 0) (local.get $prefix)))
  (local.set $first (i32.load (local.get $state)))
  (local.set $mask (i32.load offset=8 (local.get $state)))
  (local.set $end (i32.load offset=4 (local.get $state)))
  (loop $vector
    (if
      (v128.any_true
        (v128.and
          (v128.xor
            (v128.load (i32.add (local.get $first) (local.get $at)))
            (v128.load (i32.add (local.get $frame) (local.get $at))))
          (v128.load (i32.add (local.get $mask) (local.get $at)))))
      (then (return (i32.const 0))))
    (local.set $at (i32.add (local.get $at) (i32.const 16)))
    (br_if $vector (i32.lt_s (local.get $at) (local.get $end))))
  (i32.const 1))

;; Joins the frames at the ends of adjacent datagrams from $at to $end. Each datagram has $size bytes, the last
;; may have fewer. $prefix bytes precede the frame in each.
;; Returns the number of joined frames; -1: the first frame's checksums must be verified first.
(func (export "join")
  (param $state i32) (param $prefix i32) (param $at i32) (param $size i32) (param $end i32)
  (result i32)
  (local $joined i32) (local $stop i32) (local $frame i32) (local $headerBytes i32) (local $bytes i32)
  (local $ip i32) (local $transport i32) (local $length i32) (local $isTcp i32) (local $flags i32)
  (local $sum i32) (local $to i32) (local $high i32) (local $low i32)
  (local.set $headerBytes (i32.load offset=4 (local.get $state)))
  (local.set $isTcp (i32.load offset=24 (local.get $state)))
  (block $done
    (loop $datagram
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (br_if $done (i32.eqz (i32.load offset=68 (local.get $state))))
      (br_if $done
        (i32.ge_u (i32.load offset=60 (local.get $state)) (i32.load offset=64 (local.get $state))))
      (local.set $stop (i32.add (local.get $at) (local.get $size)))
      (if (i32.gt_u (local.get $stop) (local.get $end)) (then (local.set $stop (local.get $end))))
      (local.set $frame (i32.add (local.get $at) (local.get $prefix)))
      (local.set $bytes
        (i32.sub (i32.sub (local.get $stop) (local.get $frame)) (local.get $headerBytes)))
      (br_if $done (i32.le_s (local.get $bytes) (i32.const 0)))
      (br_if $done
        (i32.gt_s (local.get $bytes) (i32.load offset=44 (local.get $state))))
      (local.set $to (i32.load offset=36 (local.get $state)))
      (br_if $done
        (i32.gt_u
          (i32.add (local.get $to) (local.get $bytes))
          (i32.load offset=40 (local.get $state))))
      (br_if $done
        (i32.gt_u
          (i32.add
            (i32.add (i32.load offset=48 (local.get $state)) (local.get $bytes))
            (i32.sub (local.get $headerBytes) (i32.load offset=12 (local.get $state))))
          (i32.const 65535)))
      (br_if $done
        (i32.eqz (call $isSame (local.get $state) (local.get $prefix) (local.get $frame))))

      (local.set $ip (i32.add (local.get $frame) (i32.load offset=12 (local.get $state))))
      (local.set $transport (i32.add (local.get $frame) (i32.load offset=20 (local.get $state))))
      (if (i32.load offset=16 (local.get $state))
        (then
          (br_if $done
            (i32.ne
              (i32.load16_u offset=2 (local.get $ip))
              (call $word (i32.sub (local.get $stop) (local.get $ip)))))
          (br_if $done
            (i32.ne
              (i32.load16_u offset=4 (local.get $ip))
              (call $word (i32.load offset=52 (local.get $state))))))
        (else
          (br_if $done
            (i32.ne
              (i32.load16_u offset=4 (local.get $ip))
              (call $word
                (i32.sub (i32.sub (local.get $stop) (local.get $ip)) (i32.const 40)))))))
      (local.set $length
        (call $word (i32.sub (local.get $stop) (local.get $transport))))
      (if (local.get $isTcp)
        (then
          (local.set $high
            (call $word (i32.shr_u (i32.load offset=56 (local.get $state)) (i32.const 16))))
          (local.set $low (call $word (i32.load offset=56 (local.get $state))))
          (br_if $done
            (i32.ne (i32.load16_u offset=4 (local.get $transport)) (local.get $high)))
          (br_if $done
            (i32.ne (i32.load16_u offset=6 (local.get $transport)) (local.get $low))))
        (else
          (br_if $done
            (i32.ne (i32.load16_u offset=4 (local.get $transport)) (local.get $length)))))

      (if (i32.eqz (i32.load offset=76 (local.get $state)))
        (then (return (i32.const -1))))
      ;; Only UDP writes all ones for a checksum of zero, because its zero means "no checksum".
      (if (i32.load offset=16 (local.get $state))
        (then
          (local.set $sum (i32.load16_u offset=10 (local.get $ip)))
          (br_if $done (i32.eq (local.get $sum) (i32.const 0xffff)))
          (br_if $done
            (i32.ne (i32.const 0xffff)
              (call $fold
                (i32.add
                  (i32.add (i32.load offset=28 (local.get $state)) (local.get $sum))
                  (i32.add
                    (i32.load16_u offset=2 (local.get $ip))
                    (i32.load16_u offset=4 (local.get $ip)))))))))
      (if (local.get $isTcp)
        (then
          (local.set $sum (i32.load16_u offset=16 (local.get $transport)))
          (br_if $done (i32.eq (local.get $sum) (i32.const 0xffff)))
          (local.set $flags (i32.load8_u offset=13 (local.get $transport)))
          (local.set $sum
            (i32.add
              (i32.add (local.get $sum) (i32.shl (local.get $flags) (i32.const 8)))
              (i32.add (local.get $high) (local.get $low)))))
        (else
          (local.set $sum (i32.load16_u offset=6 (local.get $transport)))
          (br_if $done (i32.eqz (local.get $sum)))
          (local.set $sum (i32.add (local.get $sum) (local.get $length)))))
      (local.set $sum
        (i32.add
          (i32.add (i32.load offset=32 (local.get $state)) (local.get $length))
          (local.get $sum)))

      ;; If the frame directly follows the pending one, its payload overwrites its own headers.
      (call $copy
        (local.get $frame)
        (i32.load offset=80 (local.get $state))
        (local.get $headerBytes))
      (local.set $sum
        (i32.add
          (local.get $sum)
          (call $copySum
            (i32.add (local.get $frame) (local.get $headerBytes))
            (local.get $to)
            (local.get $bytes))))
      (if (i32.ne (call $fold (local.get $sum)) (i32.const 0xffff))
        (then
          ;; The checksum is wrong: restore the frame.
          (memory.copy
            (i32.add (local.get $frame) (local.get $headerBytes))
            (local.get $to)
            (local.get $bytes))
          (memory.copy
            (local.get $frame)
            (i32.load offset=80 (local.get $state))
            (local.get $headerBytes))
          (br $done)))

      (local.set $flags
        (select (i32.and (local.get $flags) (i32.const 8)) (i32.const 0) (local.get $isTcp)))
      (i32.store offset=36 (local.get $state) (i32.add (local.get $to) (local.get $bytes)))
      (i32.store offset=48 (local.get $state)
        (i32.add (i32.load offset=48 (local.get $state)) (local.get $bytes)))
      (i32.store offset=52 (local.get $state)
        (i32.add (i32.load offset=52 (local.get $state)) (i32.const 1)))
      (i32.store offset=56 (local.get $state)
        (i32.add (i32.load offset=56 (local.get $state)) (local.get $bytes)))
      (i32.store offset=60 (local.get $state)
        (i32.add (i32.load offset=60 (local.get $state)) (i32.const 1)))
      (i32.store offset=72 (local.get $state) (local.get $flags))
      (i32.store offset=68 (local.get $state)
        (i32.and
          (i32.eq (local.get $bytes) (i32.load offset=44 (local.get $state)))
          (i32.eqz (local.get $flags))))
      (local.set $joined (i32.add (local.get $joined) (i32.const 1)))
      (local.set $at (local.get $stop))
      (br $datagram)))
  (local.get $joined))
