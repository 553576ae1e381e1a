// Top of a simulator that is kept alive: the unit alone, every port a port of the top, for a main program
// that is driver and streams' ends at once (server.cpp).
module bench #(
    parameter BUS_BYTES = 8
) (
    input  wire                   aclk,
    input  wire                   aresetn,

    input  wire [7:0]             awaddr,
    input  wire                   awvalid,
    output wire                   awready,
    input  wire [31:0]            wdata,
    input  wire                   wvalid,
    output wire                   wready,
    output wire [1:0]             bresp,
    output wire                   bvalid,
    input  wire [7:0]             araddr,
    input  wire                   arvalid,
    output wire                   arready,
    output wire [31:0]            rdata,
    output wire [1:0]             rresp,
    output wire                   rvalid,

    input  wire [8*BUS_BYTES-1:0] weights_tdata,
    input  wire [BUS_BYTES-1:0]   weights_tkeep,
    input  wire                   weights_tlast,
    input  wire                   weights_tvalid,
    output wire                   weights_tready,
    input  wire [8*BUS_BYTES-1:0] acts_tdata,
    input  wire [BUS_BYTES-1:0]   acts_tkeep,
    input  wire                   acts_tlast,
    input  wire                   acts_tvalid,
    output wire                   acts_tready,
    output wire [8*BUS_BYTES-1:0] results_tdata,
    output wire [BUS_BYTES-1:0]   results_tkeep,
    output wire                   results_tlast,
    output wire                   results_tuser,
    output wire                   results_tvalid,
    input  wire                   results_tready
);
    wire irq;
    sparseloom unit (
        .aclk(aclk), .aresetn(aresetn), .irq(irq),
        .s_axil_awaddr(awaddr), .s_axil_awprot(3'b0), .s_axil_awvalid(awvalid),
        .s_axil_awready(awready), .s_axil_wdata(wdata), .s_axil_wstrb(4'hF),
        .s_axil_wvalid(wvalid), .s_axil_wready(wready),
        .s_axil_bresp(bresp), .s_axil_bvalid(bvalid), .s_axil_bready(1'b1),
        .s_axil_araddr(araddr), .s_axil_arprot(3'b0), .s_axil_arvalid(arvalid),
        .s_axil_arready(arready), .s_axil_rdata(rdata), .s_axil_rresp(rresp),
        .s_axil_rvalid(rvalid), .s_axil_rready(1'b1),
        .s_axis_weights_tdata(weights_tdata), .s_axis_weights_tkeep(weights_tkeep),
        .s_axis_weights_tlast(weights_tlast), .s_axis_weights_tvalid(weights_tvalid),
        .s_axis_weights_tready(weights_tready),
        .s_axis_acts_tdata(acts_tdata), .s_axis_acts_tkeep(acts_tkeep),
        .s_axis_acts_tlast(acts_tlast), .s_axis_acts_tvalid(acts_tvalid),
        .s_axis_acts_tready(acts_tready),
        .m_axis_results_tdata(results_tdata), .m_axis_results_tkeep(results_tkeep),
        .m_axis_results_tlast(results_tlast), .m_axis_results_tuser(results_tuser),
        .m_axis_results_tvalid(results_tvalid), .m_axis_results_tready(results_tready)
    );
endmodule

// Rules of the unit's ports, see protocol.sv.
bind sparseloom
    protocol #(.BUS_BYTES($bits(m_axis_results_tkeep))) rules (.*);
