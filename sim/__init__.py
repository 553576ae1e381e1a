"""Verification: the generated Verilog under Verilator and cocotb, against the integer oracle."""
