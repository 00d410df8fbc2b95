;; Sums the 16-bit words of a checksum (RFC 1071), 64 bytes a round. testdata.ts has a reference in TypeScript.
;; Returns the sum of the little-endian words from $at on. A last odd byte is the low byte of a word.
;; The sum of up to 128 KiB fits 32 bits.
(func $sum (export "sum") (param $at i32) (param $length i32) (result i32)
  (local $end i32) (local $total i32) (local $one v128) (local $two v128)
  (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -64))))
  (block $short
    (loop $round
      (br_if $short (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $one
        (i32x4.add (local.get $one)
          (i32x4.add
            (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $at)))
            (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 (local.get $at))))))
      (local.set $two
        (i32x4.add (local.get $two)
          (i32x4.add
            (i32x4.extadd_pairwise_i16x8_u (v128.load offset=32 (local.get $at)))
            (i32x4.extadd_pairwise_i16x8_u (v128.load offset=48 (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (br $round)))
  (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const 48))))
  (block $shorter
    (loop $vector
      (br_if $shorter (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $one
        (i32x4.add (local.get $one)
          (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br $vector)))
  (local.set $one (i32x4.add (local.get $one) (local.get $two)))
  (local.set $total
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $one)) (i32x4.extract_lane 1 (local.get $one)))
      (i32.add (i32x4.extract_lane 2 (local.get $one)) (i32x4.extract_lane 3 (local.get $one)))))
  (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const 14))))
  (block $last
    (loop $word
      (br_if $last (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $total (i32.add (local.get $total) (i32.load16_u (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 2)))
      (br $word)))
  (if (i32.and (local.get $length) (i32.const 1))
    (then (local.set $total (i32.add (local.get $total) (i32.load8_u (local.get $at))))))
  (local.get $total))

;; Sums and copies the bytes. They may overlap if $to is below $at: a round stores below all bytes that later
;; rounds load.
(func $copySum (export "copySum") (param $at i32) (param $to i32) (param $length i32) (result i32)
  (local $end i32) (local $total i32) (local $one v128) (local $two v128)
  (local $a v128) (local $b v128) (local $c v128) (local $d v128)
  (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -64))))
  (block $short
    (loop $round
      (br_if $short (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $a (v128.load (local.get $at)))
      (local.set $b (v128.load offset=16 (local.get $at)))
      (local.set $c (v128.load offset=32 (local.get $at)))
      (local.set $d (v128.load offset=48 (local.get $at)))
      (v128.store (local.get $to) (local.get $a))
      (v128.store offset=16 (local.get $to) (local.get $b))
      (v128.store offset=32 (local.get $to) (local.get $c))
      (v128.store offset=48 (local.get $to) (local.get $d))
      (local.set $one
        (i32x4.add (local.get $one)
          (i32x4.add
            (i32x4.extadd_pairwise_i16x8_u (local.get $a))
            (i32x4.extadd_pairwise_i16x8_u (local.get $b)))))
      (local.set $two
        (i32x4.add (local.get $two)
          (i32x4.add
            (i32x4.extadd_pairwise_i16x8_u (local.get $c))
            (i32x4.extadd_pairwise_i16x8_u (local.get $d)))))
      (local.set $at (i32.add (local.get $at) (i32.const 64)))
      (local.set $to (i32.add (local.get $to) (i32.const 64)))
      (br $round)))
  (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const 48))))
  (block $shorter
    (loop $vector
      (br_if $shorter (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $a (v128.load (local.get $at)))
      (v128.store (local.get $to) (local.get $a))
      (local.set $one
        (i32x4.add (local.get $one) (i32x4.extadd_pairwise_i16x8_u (local.get $a))))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (local.set $to (i32.add (local.get $to) (i32.const 16)))
      (br $vector)))
  (local.set $one (i32x4.add (local.get $one) (local.get $two)))
  (local.set $total
    (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $one)) (i32x4.extract_lane 1 (local.get $one)))
      (i32.add (i32x4.extract_lane 2 (local.get $one)) (i32x4.extract_lane 3 (local.get $one)))))
  (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const 14))))
  (block $last
    (loop $word
      (br_if $last (i32.ge_u (local.get $at) (local.get $end)))
      (local.set $total (i32.add (local.get $total) (i32.load16_u (local.get $at))))
      (i32.store16 (local.get $to) (i32.load16_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 2)))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (br $word)))
  (if (i32.and (local.get $length) (i32.const 1))
    (then
      (local.set $total (i32.add (local.get $total) (i32.load8_u (local.get $at))))
      (i32.store8 (local.get $to) (i32.load8_u (local.get $at)))))
  (local.get $total))

;; Adds the carries of a sum until it is a 16-bit word. The result is 0 only for a sum of 0.
(func $fold (param $sum i32) (result i32)
  (local.set $sum
    (i32.add (i32.and (local.get $sum) (i32.const 0xffff)) (i32.shr_u (local.get $sum) (i32.const 16))))
  (i32.add (i32.and (local.get $sum) (i32.const 0xffff)) (i32.shr_u (local.get $sum) (i32.const 16))))

;; Returns a 16-bit number in network byte order.
(func $word (param $value i32) (result i32)
  (i32.or
    (i32.and (i32.shr_u (local.get $value) (i32.const 8)) (i32.const 0xff))
    (i32.shl (i32.and (local.get $value) (i32.const 0xff)) (i32.const 8))))

;; Copies at least 16 bytes, 16 at a time. The last copy may overlap the one before.
(func $copy (param $from i32) (param $to i32) (param $length i32)
  (local $done i32) (local $last i32)
  (local.set $last (i32.sub (local.get $length) (i32.const 16)))
  (loop $vector
    (v128.store
      (i32.add (local.get $to) (local.get $done))
      (v128.load (i32.add (local.get $from) (local.get $done))))
    (local.set $done (i32.add (local.get $done) (i32.const 16)))
    (br_if $vector (i32.lt_u (local.get $done) (local.get $last))))
  (v128.store
    (i32.add (local.get $to) (local.get $last))
    (v128.load (i32.add (local.get $from) (local.get $last)))))
