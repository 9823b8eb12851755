/// A shared gallery of pieces: tables, bags, coins, dynamic fields of both kinds, events, aborts.
module gallery::gallery;

use std::string::String;
use sui::bag::{Self, Bag};
use sui::balance::{Self, Balance};
use sui::clock::Clock;
use sui::coin::{Self, Coin};
use sui::dynamic_field as field;
use sui::dynamic_object_field as object_field;
use sui::event;
use sui::sui::SUI;
use sui::table::{Self, Table};

const ENoTitle: u64 = 1;
const ETaken: u64 = 2;
const ETooCheap: u64 = 3;

/// Thirty-two zero bytes in the constants: what a careless patch of the package's address would hit.
const NOBODY: address = @0x0;

public struct Curator has key, store { id: UID }

public struct Gallery has key {
    id: UID,
    pieces: Table<String, Piece>,
    labels: Bag,
    takings: Balance<SUI>,
    admitted: u64,
}

public struct Piece has copy, drop, store { owner: address, price: u64, hung_ms: u64, mood: Mood }

public enum Mood has copy, drop, store { Calm, Loud { volume: u8 }, Mixed(u8, u8) }

public struct Frame has key, store { id: UID, glass: u64 }

public struct Hung has copy, drop { gallery: ID, title: String, at_ms: u64 }
public struct Sold has copy, drop { title: String, price: u64 }
public struct Announced has copy, drop { number: u64 }
public struct Receipt { amount: u64 }

fun init(ctx: &mut TxContext) {
    transfer::transfer(Curator { id: object::new(ctx) }, ctx.sender());
    transfer::share_object(Gallery {
        id: object::new(ctx),
        pieces: table::new(ctx),
        labels: bag::new(ctx),
        takings: balance::zero(),
        admitted: 0,
    });
}

// === Entry functions that are not public ===

entry fun hang(gallery: &mut Gallery, title: String, price: u64, clock: &Clock, ctx: &TxContext) {
    hang_piece(gallery, title, price, clock.timestamp_ms(), ctx);
}

public(package) entry fun admit(gallery: &mut Gallery) { gallery.admitted = gallery.admitted + 1; }

// === Objects ===

public fun gallery_mood(gallery: &Gallery, title: String): Mood { gallery.pieces.borrow(title).mood }

public fun buy(
    gallery: &mut Gallery,
    title: String,
    payment: Coin<SUI>,
    ctx: &mut TxContext,
): (Frame, u64) {
    let piece = gallery.pieces.remove(title);
    assert!(payment.value() >= piece.price, ETooCheap);
    gallery.takings.join(payment.into_balance());
    event::emit(Sold { title, price: piece.price });
    (Frame { id: object::new(ctx), glass: 0 }, piece.price)
}

public fun reprice(gallery: &mut Gallery, title: String, price: u64) {
    let piece = gallery.pieces.borrow_mut(title);
    piece.price = price;
    piece.mood = Mood::Loud { volume: 7 };
}

public fun collect(_: &Curator, gallery: &mut Gallery, ctx: &mut TxContext): Coin<SUI> {
    coin::from_balance(gallery.takings.withdraw_all(), ctx)
}

public fun new_frame(glass: u64, ctx: &mut TxContext): Frame { Frame { id: object::new(ctx), glass } }
public fun polish(frame: &mut Frame, shine: &mut u64) { frame.glass = frame.glass + *shine; *shine = 0; }
public fun break_frame(frame: Frame) { let Frame { id, .. } = frame; id.delete(); }
public fun keep_frozen(frame: Frame) { transfer::freeze_object(frame) }
public fun make_public(frame: Frame) { transfer::share_object(frame) }
public fun swap_frames(mine: &mut Frame, theirs: &mut Frame) {
    let glass = mine.glass;
    mine.glass = theirs.glass;
    theirs.glass = glass;
}
public fun give<T: key + store>(what: T, to: address) { transfer::public_transfer(what, to) }
public fun count_of<T: drop>(values: vector<T>): u64 { values.length() }

// === Dynamic fields ===

public fun put_in_frame(gallery: &mut Gallery, name: u64, frame: Frame) {
    object_field::add(&mut gallery.id, name, frame);
}
public fun polish_inside(gallery: &mut Gallery, name: u64) {
    let frame: &mut Frame = object_field::borrow_mut(&mut gallery.id, name);
    frame.glass = frame.glass + 1;
}
public fun take_from_frame(gallery: &mut Gallery, name: u64): Frame {
    object_field::remove(&mut gallery.id, name)
}
public fun label(gallery: &mut Gallery, key: u8, text: String) { gallery.labels.add(key, text) }
public fun come_and_go(gallery: &mut Gallery) {
    field::add(&mut gallery.id, b"guest", true);
    let _: bool = field::remove(&mut gallery.id, b"guest");
}
public fun replace(gallery: &mut Gallery, key: u8, text: String) {
    let _: String = gallery.labels.remove(key);
    gallery.labels.add(key, text);
}

public fun remove_twice(gallery: &mut Gallery, key: u8) {
    let _: String = gallery.labels.remove(key);
    let _: String = gallery.labels.remove(key);
}

/// Fields with as many types as their keys have.
public fun scatter(gallery: &mut Gallery) {
    let id = &mut gallery.id;
    field::add(id, 0u8, 0u8);
    field::add(id, 0u16, 0u8);
    field::add(id, 0u32, 0u8);
    field::add(id, 0u64, 0u8);
    field::add(id, 0u128, 0u8);
    field::add(id, 0u256, 0u8);
    field::add(id, false, 0u8);
    field::add(id, @0x1, 0u8);
    field::add(id, b"ninth", 0u8);
}
public fun touch_eight(gallery: &mut Gallery) {
    let id = &mut gallery.id;
    bump(id, 0u8);
    bump(id, 0u16);
    bump(id, 0u32);
    bump(id, 0u64);
    bump(id, 0u128);
    bump(id, 0u256);
    bump(id, false);
    bump(id, @0x1);
}
public fun touch_nine(gallery: &mut Gallery) {
    touch_eight(gallery);
    bump(&mut gallery.id, b"ninth");
}
fun bump<K: copy + drop + store>(id: &mut UID, key: K) {
    let value: &mut u8 = field::borrow_mut(id, key);
    *value = *value + 1;
}

// === Values ===

public fun owner_of_nothing(): address { NOBODY }
public fun receipt(amount: u64): Receipt { Receipt { amount } }
public fun settle(receipt: Receipt): u64 { let Receipt { amount } = receipt; amount }
public fun describe(ctx: &TxContext): (address, u64, u64, vector<u8>) {
    (ctx.sender(), ctx.epoch(), ctx.epoch_timestamp_ms(), *ctx.digest())
}
public fun announce(numbers: vector<u64>) {
    let mut i = 0;
    while (i < numbers.length()) {
        event::emit(Announced { number: numbers[i] });
        i = i + 1;
    }
}
public fun numbered(a: address): (u256, address, String) {
    (a.to_u256(), sui::address::from_u256(a.to_u256()), a.to_string())
}
public fun divide(a: u64, b: u64): u64 { a / b }
public fun forever() { loop {} }
public fun borrow_takings(gallery: &Gallery): &Balance<SUI> { &gallery.takings }
public fun receive_frame(gallery: &mut Gallery, frame: transfer::Receiving<Frame>): Frame {
    transfer::receive(&mut gallery.id, frame)
}
public fun send_funds(coin: Coin<SUI>, to: address) { coin.send_funds(to) }

fun hang_piece(gallery: &mut Gallery, title: String, price: u64, now: u64, ctx: &TxContext) {
    assert!(!title.is_empty(), ENoTitle);
    assert!(!gallery.pieces.contains(title), ETaken);
    let mood = if (price > 100) Mood::Mixed(1, 2) else Mood::Calm;
    gallery.pieces.add(title, Piece { owner: ctx.sender(), price, hung_ms: now, mood });
    event::emit(Hung { gallery: object::id(gallery), title, at_ms: now });
}
