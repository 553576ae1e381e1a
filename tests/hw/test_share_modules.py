import re

from sparseloom.hw.share_modules import MODULE, share_modules

CELL = """(* generator = "Amaranth" *)
module \\top.{name} (a, b);
  reg \\$auto$verilog_backend.cc:2355:dump_module${number}  = 0;
  input a;
  output b;
  \\top.{name}.{leaf}  {leaf} (
    .a(a),
    .b(b)
  );
endmodule

"""
LEAF = """(* generator = "Amaranth" *)
module \\top.{name} (a, b);
  input a;
  output b;
  assign b = {sign}a;
endmodule

"""
TOP = """(* top =  1  *)
module top(a);
  \\top.x  x (
    .a(a)
  );
  \\top.y  y (
    .a(a)
  );
  \\top.z  z (
    .a(a)
  );
endmodule

"""


def text():
    return TOP + "".join(
        CELL.format(name=name, number=number, leaf="leaf")
        + LEAF.format(name=f"{name}.leaf", sign=sign)
        for number, (name, sign) in enumerate([("x", "~"), ("y", "~"), ("z", "")]))


def test_equal_modules_become_the_first_of_them_from_the_leaves_up():
    shared = share_modules(text())
    assert [name for name, _ in MODULE.findall(shared)] == [
        "top", "\\top.x", "\\top.x.leaf", "\\top.z", "\\top.z.leaf"]
    assert re.findall(r"^  (\S+)  (\S+) \($", shared, re.MULTILINE) == [
        ("\\top.x", "x"), ("\\top.x", "y"), ("\\top.z", "z"),
        ("\\top.x.leaf", "leaf"), ("\\top.z.leaf", "leaf")]
    assert shared.count("Amaranth") == 4
    assert shared.count("assign b = ~a;") == 1


def test_nothing_to_share_changes_nothing_but_numbers():
    alone = TOP + CELL.format(name="x", number=72, leaf="leaf")
    assert share_modules(alone) == alone.replace("auto$verilog_backend.cc:2355:dump_module$72",
                                                 "init")
