;; Writes the segments of a large frame, one after the other: the shared headers, the fields that differ, and the
;; segment's part of the payload. Segmenter (segment.ts) prepares the plan, an array of i32:
;;
;;    0 address of the headers, with the caller's prefix in front; fields that differ are 0
;;    4 bytes of the headers                      8 address of the payload
;;   12 bytes of the payload                     16 payload bytes of a segment; the last may have fewer
;;   20 offset of the IP header                  24 1: it is IPv4
;;   28 offset of the TCP or UDP header          32 1: it is TCP
;;   36 sum of the IPv4 header                   40 folded sum of the pseudo-header and the TCP or UDP header
;;   44 the first IPv4 identification            48 the first sequence number
;;   52 TCP flags of the last segment

;; Writes $count segments from $index on, each with a copy of the caller's $prefix bytes in front.
(func (export "segment")
  (param $plan i32) (param $prefix i32) (param $index i32) (param $count i32) (param $to i32)
  (local $skipped i32) (local $bytes i32) (local $headerBytes i32) (local $head i32)
  (local $ip i32) (local $transport i32) (local $length i32) (local $isTcp i32)
  (local $high i32) (local $low i32) (local $flags i32) (local $sum i32)
  (local.set $headerBytes (i32.load offset=4 (local.get $plan)))
  (local.set $isTcp (i32.load offset=32 (local.get $plan)))
  (block $done
    (loop $segment
      (br_if $done (i32.eqz (local.get $count)))
      (local.set $skipped (i32.mul (local.get $index) (i32.load offset=16 (local.get $plan))))
      (local.set $bytes (i32.sub (i32.load offset=12 (local.get $plan)) (local.get $skipped)))
      (if (i32.gt_u (local.get $bytes) (i32.load offset=16 (local.get $plan)))
        (then (local.set $bytes (i32.load offset=16 (local.get $plan)))))
      (call $copy
        (i32.sub (i32.load (local.get $plan)) (local.get $prefix))
        (local.get $to)
        (i32.add (local.get $prefix) (local.get $headerBytes)))
      (local.set $head (i32.add (local.get $to) (local.get $prefix)))
      (local.set $to (i32.add (local.get $head) (local.get $headerBytes)))
      (local.set $ip (i32.add (local.get $head) (i32.load offset=20 (local.get $plan))))
      (local.set $transport (i32.add (local.get $head) (i32.load offset=28 (local.get $plan))))
      (local.set $length
        (i32.add (i32.sub (local.get $to) (local.get $transport)) (local.get $bytes)))

      (if (i32.load offset=24 (local.get $plan))
        (then
          (local.set $high
            (call $word
              (i32.add (i32.sub (local.get $transport) (local.get $ip)) (local.get $length))))
          (local.set $low
            (call $word (i32.add (i32.load offset=44 (local.get $plan)) (local.get $index))))
          (i32.store16 offset=2 (local.get $ip) (local.get $high))
          (i32.store16 offset=4 (local.get $ip) (local.get $low))
          (i32.store16 offset=10 (local.get $ip)
            (i32.xor (i32.const 0xffff)
              (call $fold
                (i32.add
                  (i32.load offset=36 (local.get $plan))
                  (i32.add (local.get $high) (local.get $low)))))))
        (else
          (i32.store16 offset=4 (local.get $ip)
            (call $word
              (i32.sub
                (i32.add (i32.sub (local.get $transport) (local.get $ip)) (local.get $length))
                (i32.const 40))))))

      (local.set $sum
        (i32.add (i32.load offset=40 (local.get $plan)) (call $word (local.get $length))))
      (if (local.get $isTcp)
        (then
          (local.set $high (i32.add (i32.load offset=48 (local.get $plan)) (local.get $skipped)))
          (local.set $low (call $word (local.get $high)))
          (local.set $high (call $word (i32.shr_u (local.get $high) (i32.const 16))))
          (i32.store16 offset=4 (local.get $transport) (local.get $high))
          (i32.store16 offset=6 (local.get $transport) (local.get $low))
          (local.set $flags (i32.load offset=52 (local.get $plan)))
          ;; Only the last segment has FIN and PSH.
          (if
            (i32.lt_u
              (i32.add (local.get $skipped) (local.get $bytes))
              (i32.load offset=12 (local.get $plan)))
            (then (local.set $flags (i32.and (local.get $flags) (i32.const 0xf6)))))
          ;; Only the first segment has CWR.
          (if (local.get $index)
            (then (local.set $flags (i32.and (local.get $flags) (i32.const 0x7f)))))
          (i32.store8 offset=13 (local.get $transport) (local.get $flags))
          (local.set $sum
            (i32.add
              (i32.add (local.get $sum) (i32.shl (local.get $flags) (i32.const 8)))
              (i32.add (local.get $high) (local.get $low)))))
        (else
          (i32.store16 offset=4 (local.get $transport) (call $word (local.get $length)))
          (local.set $sum (i32.add (local.get $sum) (call $word (local.get $length))))))

      (local.set $sum
        (i32.xor (i32.const 0xffff)
          (call $fold
            (i32.add
              (local.get $sum)
              (call $copySum
                (i32.add (i32.load offset=8 (local.get $plan)) (local.get $skipped))
                (local.get $to)
                (local.get $bytes))))))
      (if (local.get $isTcp)
        (then (i32.store16 offset=16 (local.get $transport) (local.get $sum)))
        (else
          ;; A UDP checksum of 0 means "no checksum".
          (i32.store16 offset=6 (local.get $transport)
            (select (local.get $sum) (i32.const 0xffff) (local.get $sum)))))

      (local.set $to (i32.add (local.get $to) (local.get $bytes)))
      (local.set $index (i32.add (local.get $index) (i32.const 1)))
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br $segment))))
