# Boot sector: real mode -> protected mode with PAE paging -> 64-bit mode -> print "OK" -> isa-debug-exit.
        .code16
        .org 0
start:  cli
        xorw %ax, %ax
        movw %ax, %ds
        movw %ax, %es
        movw %ax, %ss
        movw $0x7c00, %sp
        # identity-map the first 2 MB: PML4 at 0x1000, PDPT at 0x2000, PD at 0x3000
        cld
        movw $0x1000, %di
        xorl %eax, %eax
        movw $0xc00, %cx
        rep stosl
        movl $0x2003, 0x1000
        movl $0x3003, 0x2000
        movl $0x0083, 0x3000
        movl $0x1000, %eax
        movl %eax, %cr3
        movl %cr4, %eax
        orl $0x20, %eax
        movl %eax, %cr4
        movl $0xc0000080, %ecx
        rdmsr
        orl $0x100, %eax
        wrmsr
        lgdt gdtr - start + 0x7c00
        movl %cr0, %eax
        orl $0x80000001, %eax
        movl %eax, %cr0
        ljmp $8, $(long - start + 0x7c00)
        .code64
long:   movl $16, %eax
        movl %eax, %ds
        movl %eax, %ss
        movabsq $0x4b4f4b4f4b4f4b4f, %rbx   # a value only 64-bit code can hold
        shrq $48, %rbx
        movw $0x3f8, %dx
        movb %bl, %al
        outb %al, %dx
        movb %bh, %al
        outb %al, %dx
        movq %cr3, %rax
        movq %rax, %cr3
        xorl %eax, %eax
        cpuid
        movw $0xf4, %dx
        movb $0x10, %al
        outb %al, %dx
halt:   hlt
        jmp halt
        .balign 8
gdt:    .quad 0
        .quad 0x00209a0000000000
        .quad 0x0000920000000000
gdtr:   .word gdtr - gdt - 1
        .long gdt - start + 0x7c00
        .org 510
        .word 0xaa55
