// What a driver does to a unit, from a file: register accesses and waits, one step a line.
//
//   write  address value     read   address 0         to the log, with the answer
//   until  address mask      while  address mask      reads until a bit of the mask is set, or none is
//   quit   address mask      reads; if a bit of the mask is set, the simulation ends
//   gaps   wwaarr seed       of the streams, in 256ths
//   play   number packets    the streams of that number begin; so many packets of results will come
//   done   0 0               waits for them; a void packet ends the wait, and every `until`
//   note   0 0               what the streams' ends counted, to the log
//   stop   0 0               the streams end
//   sleep  cycles 0
//   limit  cycles 0          no wait lasts longer, counted from here
//   expect packets 0         so many packets of results will come from here on; `done` is down again
//   reset  cycles 0          the streams end, and reset is held so long
//   phase  mask 0            waits until a bit of `phase` and the mask is up
//   weights_to, acts_to, results_to  beats 0    that stream goes no further until it may
//   weights_stop, acts_stop, results_stop  beat cycles    once, at that beat, for so long
//   case   number 0          to the log, marked: what follows is of that case
//
// Numbers are hexadecimal. The log has a line for each write, read, done, note, phase and case. After the last line
// the simulation ends.
module script #(
    parameter FILE = "script.txt",
    parameter LOG = "script.log"
) (
    input  wire        aclk,
    output reg         aresetn,

    output reg  [7:0]  awaddr,
    output reg         awvalid,
    input  wire        awready,
    output reg  [31:0] wdata,
    output reg         wvalid,
    input  wire        wready,
    input  wire [1:0]  bresp,
    input  wire        bvalid,
    output reg  [7:0]  araddr,
    output reg         arvalid,
    input  wire        arready,
    input  wire [31:0] rdata,
    input  wire [1:0]  rresp,
    input  wire        rvalid,

    output reg         play,
    output reg  [31:0] number,
    output reg  [31:0] seed,
    output reg  [7:0]  gap_weights,
    output reg  [7:0]  gap_acts,
    output reg  [7:0]  gap_results,
    output reg  [31:0] packets,
    output reg         expect_,           // for a cycle: `packets` are counted anew
    output reg  [31:0] case_,
    output reg  [31:0] weights_to,        // beats that each stream may get to
    output reg  [31:0] acts_to,
    output reg  [31:0] results_to,
    output reg  [63:0] weights_stop,      // beat at which each stream stops once, and cycles
    output reg  [63:0] acts_stop,
    output reg  [63:0] results_stop,
    input  wire [7:0]  phase,             // of the unit, one hot
    input  wire [31:0] cycle,
    input  wire        done,
    input  wire [31:0] first_cycle,
    input  wire [31:0] last_cycle,
    input  wire [31:0] offer_cycle,
    input  wire [31:0] weight_beats,
    input  wire [31:0] act_beats,
    input  wire [31:0] result_beats,
    input  wire [31:0] weight_stalls,
    input  wire [31:0] act_stalls,
    input  wire [31:0] result_stalls
);
    localparam RESET_CYCLES = 4;
    localparam NEXT = 0, WRITE = 1, READ = 2, WAIT = 3, SLEEP = 4, PHASE = 5;
    reg [2:0] state;
    reg [127:0] step;
    reg [31:0] first, second, left, last;     // the step's numbers; cycles of a sleep, end of waits
    integer file, log, found;
    wire late = cycle >= last;
    wire again = (step == "until" & ~|(rdata & second) & ~(done & play)) | (step == "while" & |(rdata & second));

    initial begin
        file = $fopen(FILE, "r");
        log = $fopen(LOG, "w");
        state = SLEEP; left = RESET_CYCLES; last = ~0; step = 0; first = 0; second = 0;
        aresetn = 0; awvalid = 0; wvalid = 0; arvalid = 0; awaddr = 0; wdata = 0; araddr = 0;
        play = 0; number = 0; seed = 1; packets = 1; gap_weights = 0; gap_acts = 0; gap_results = 0;
        expect_ = 0; case_ = 0; {weights_to, acts_to, results_to} = ~0;
        {weights_stop, acts_stop, results_stop} = 0;
    end
    always @(posedge aclk) begin
        expect_ <= 0;
        case (state)
            NEXT: begin
                found = $fscanf(file, "%s %h %h", step, first, second);
                if (found != 3) $finish;
                else case (step)
                    "write": begin
                        awaddr <= first[7:0]; awvalid <= 1; wdata <= second; wvalid <= 1;
                        state <= WRITE;
                    end
                    "read", "until", "while", "quit": begin
                        araddr <= first[7:0]; arvalid <= 1;
                        state <= READ;
                    end
                    "gaps": begin {gap_weights, gap_acts, gap_results} <= first[23:0]; seed <= second; end
                    "play": begin
                        play <= 1; number <= first; packets <= second;
                        left <= 3; state <= SLEEP;           // until `done` is down
                    end
                    "done": state <= WAIT;
                    "note": $fdisplay(log, "%0d %0d %0d %0d %0d %0d %0d %0d %0d",
                        first_cycle, last_cycle, offer_cycle, weight_beats, act_beats, result_beats,
                        weight_stalls, act_stalls, result_stalls);
                    "stop": begin play <= 0; left <= 3; state <= SLEEP; end
                    "sleep": if (first != 0) begin left <= first - 1; state <= SLEEP; end
                    "limit": last <= cycle + first;
                    "expect": begin
                        packets <= first; expect_ <= 1;
                        left <= 2; state <= SLEEP;           // until `done` is down
                    end
                    "reset": begin
                        aresetn <= 0; play <= 0;
                        left <= first - 1; state <= SLEEP;
                    end
                    "phase": state <= PHASE;
                    "weights_to": weights_to <= first;
                    "acts_to": acts_to <= first;
                    "results_to": results_to <= first;
                    "weights_stop": weights_stop <= {first, second};
                    "acts_stop": acts_stop <= {first, second};
                    "results_stop": results_stop <= {first, second};
                    "case": begin case_ <= first; $fdisplay(log, "case %0d", first); $fflush(log); end
                    default: begin
                        $fdisplay(log, "unknown");
                        $finish;
                    end
                endcase
            end
            WRITE: begin
                if (awready) awvalid <= 0;
                if (wready) wvalid <= 0;
                if (bvalid) begin
                    $fdisplay(log, "%0d %0d", cycle - 1, bresp);    // it answers a cycle later
                    state <= NEXT;
                end
            end
            READ: begin
                if (arready) arvalid <= 0;
                if (rvalid) begin
                    if (again & ~late) arvalid <= 1;
                    else begin
                        if (step == "read") $fdisplay(log, "%0d %0d", rdata, rresp);
                        if (step == "quit" & |(rdata & second)) $finish;
                        state <= NEXT;
                    end
                end
            end
            WAIT: if (done | late) begin
                $fdisplay(log, "%0d", done);
                state <= NEXT;
            end
            PHASE: if (|(phase & first[7:0]) | done | late) begin
                $fdisplay(log, "%0d", |(phase & first[7:0]));
                state <= NEXT;
            end
            default: begin
                left <= left - 1;
                if (left == 0) begin aresetn <= 1; state <= NEXT; end
            end
        endcase
    end
endmodule
